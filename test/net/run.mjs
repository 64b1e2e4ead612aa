// Runs scenarios of poor networks with a real browser as the receiver, and draws what happened.
//
//   node run.mjs [--out DIR] [--senders N] [SCENARIO…]        or: make networks SCENARIOS="…"
//
// Needs root, for network namespaces. The first process makes two of them and runs itself again in the near one, where
// the server and the senders are; the receiving Chromium starts in the far one, and ../net/emulate is all that is
// between them. Namespaces go when the first process ends, however it does.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { setPriority } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

import { prepare } from '../e2e/prepare.mjs';
import { report, summarise } from './report.mjs';
import { record } from './record.mjs';
import { SCENARIOS } from './scenarios.mjs';
import { perform } from './perform.mjs';

const PREFIX = 'confabnet-';

const { values: options, positionals: names } = parseArgs({
    allowPositionals: true,
    options: { out: { type: 'string' }, senders: { type: 'string', default: '1' } }
});
const out = resolve(options.out ?? join(import.meta.dirname, '../../docs/networks'));

const unknown = names.filter(n => !SCENARIOS.some(s => s.name === n));

if (unknown.length) {
    console.error(`no scenario ${unknown.join(', ')}; there are ${SCENARIOS.map(s => s.name).join(', ')}`);
    process.exit(2);
}
process.exitCode = process.env.CONFAB_NEAR ? await inside() : await outside();

/** Makes the namespaces, runs the rest in the near one, takes them away. */
async function outside() {
    const ip = (...args) => execFileSync('ip', args);
    const [ near, far ] = [ 'near', 'far' ].map(end => `${PREFIX}${process.pid}-${end}`);
    const remove = () => [ near, far ].forEach(ns => spawnQuietly('ip', 'netns', 'del', ns));

    // Those of runs that were killed.
    for (const ns of netns()) {
        const [ , pid ] = /^confabnet-(\d+)-/.exec(ns) ?? [];

        if (pid && !alive(Number(pid))) {
            ip('netns', 'del', ns);
        }
    }
    await record();
    if (!process.env.LJM) {
        await prepare();
    }
    try {
        for (const ns of [ near, far ]) {
            ip('netns', 'add', ns);
            ip('-n', ns, 'link', 'set', 'lo', 'up');
        }
        const child = spawn('nsenter', [ `--net=/run/netns/${near}`, process.execPath, ...process.argv.slice(1) ], {
            // A session of its own, for becomeImportant.
            detached: true, stdio: 'inherit', env: { ...process.env, CONFAB_NEAR: near, CONFAB_FAR: far }
        });

        for (const signal of [ 'SIGINT', 'SIGTERM', 'SIGHUP' ]) {
            process.on(signal, () => child.kill(signal));
        }
        const [ code ] = await once(child, 'exit');

        return code ?? 1;
    } finally {
        remove();
    }
}

function spawnQuietly(...[ program, ...args ]) {
    try {
        execFileSync(program, args, { stdio: 'ignore' });
    } catch {
        // It may never have been made.
    }
}

function netns() {
    try {
        return readdirSync('/run/netns');
    } catch {
        return [];
    }
}

function alive(pid) {
    try {
        process.kill(pid, 0);

        return true;
    } catch {
        return false;
    }
}

/**
 * What else runs on the machine is not to be measured: everything of this session goes before it. (With autogroups,
 * sched(7), niceness alone only counts within a session.)
 */
function becomeImportant() {
    setPriority(-10);
    try {
        writeFileSync('/proc/self/autogroup', '-15');
    } catch {
        // A kernel without autogroups.
    }
}

/** Performs the scenarios one after the other; the exit code is 1 if a goal was missed. */
async function inside() {
    becomeImportant();
    await mkdir(out, { recursive: true });
    let missed = 0;

    for (const scenario of SCENARIOS.filter(s => !names.length || names.includes(s.name))) {
        console.log(`== ${scenario.name}: ${scenario.title}`);
        const run = await perform(scenario, { far: process.env.CONFAB_FAR, near: process.env.CONFAB_NEAR, senders: Number(options.senders) });

        await writeFile(join(import.meta.dirname, '.cache', `${scenario.name}.run.json`), JSON.stringify(run));

        missed += await report(scenario, run, out);
    }

    await summarise(out);

    return missed ? 1 : 0;
}
