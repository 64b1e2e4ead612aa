// Where things are: the program under test, the client library, the scratch directory.

import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

/** test/e2e */
export const root = resolve(here, '..');

/** Everything the tests write: logs, screenshots, data directories, the unpacked library. Not committed. */
export const cache = join(root, '.cache');

/** The December 2021 library as `prepare.mjs` unpacks it. */
export const npmLibrary = join(cache, 'lib-jitsi-meet-2021', 'lib-jitsi-meet.min.js');

/** The library that the pages load: env LJM, a lib-jitsi-meet.min.js of any age, or the one from npm. */
export const library = process.env.LJM ? resolve(process.env.LJM) : npmLibrary;

/** The program under test: env CONFAB, or bin/confab of this checkout. */
export const program = process.env.CONFAB ? resolve(process.env.CONFAB) : resolve(root, '../../bin/confab');

/** Chromium: env CHROMIUM, or where Debian puts it. */
export const chromium = process.env.CHROMIUM ?? '/usr/bin/chromium';

/**
 * What the library in use can do, told from its text: the 2021 build asks for a global jQuery, and in a browser of
 * today it can't leave a peer-to-peer session again (captures/README.md, "Variations tried").
 */
export function generation(file = library) {
    return readFileSync(file, 'utf8').slice(0, 400).includes('jquery') ? 2021 : 2026;
}
