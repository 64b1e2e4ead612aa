// Puts the default client library, the December 2021 lib-jitsi-meet, at .cache/lib-jitsi-meet-2021/.
//
// It comes from npm as a tarball that is only unpacked, never installed: one of its dependencies is not on npm,
// and its bundle needs none of them. The tarball is checked against the digest below before it is used.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { cache, npmLibrary } from './harness/paths.mjs';

const run = promisify(execFile);
const PACKAGE = '@lyno/lib-jitsi-meet@2.6726.2';
const DIGEST = 'sha512-cTrKBgy4ZHD6vyFTOAOx5ylyzjWs3ft6MLhmchu9zRq7uLr8omD4lE2fmSfoyoSqMjFc/3sU9XLYXiJ21hqQuw==';

/** Unpacks the library unless it is there already. */
export async function prepare() {
    if (await exists(npmLibrary)) {
        return npmLibrary;
    }
    await mkdir(cache, { recursive: true });
    const work = await mkdtemp(join(cache, 'unpack-'));

    try {
        const { stdout } = await run('npm', [ 'pack', PACKAGE, '--silent', '--pack-destination', work ]);
        const tarball = join(work, stdout.trim().split('\n').pop());
        const digest = 'sha512-' + createHash('sha512').update(await readFile(tarball)).digest('base64');

        if (digest !== DIGEST) {
            throw new Error(`${PACKAGE}: digest ${digest}, want ${DIGEST}`);
        }
        await run('tar', [ '-xzf', tarball, '-C', work ]);
        const target = join(cache, 'lib-jitsi-meet-2021');

        await rm(target, { recursive: true, force: true });
        await rename(join(work, 'package'), target);
    } finally {
        await rm(work, { recursive: true, force: true });
    }

    return npmLibrary;
}

async function exists(path) {
    return stat(path).then(() => true, () => false);
}

if (process.argv[1] === import.meta.filename) {
    console.log(await prepare());
}
