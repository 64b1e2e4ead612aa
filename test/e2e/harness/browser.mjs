// Chromium with fake devices, and the pages in it that hold meetings.

import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { mkdirSync, createWriteStream } from 'node:fs';

import { chromium as playwright } from 'playwright-core';

import { Participant } from './participant.mjs';
import { cache, chromium, generation, library, root } from './paths.mjs';
import { DOMAIN } from './server.mjs';

/** Frames per second of the fake camera: the least that the library accepts, so that two cores can encode for three. */
const FPS = Number(process.env.FPS ?? 15);

export class Browser {
    #browser;
    #pages = 0;

    /**
     * Starts one Chromium.
     *
     * @param {string} name - names the pages' log files.
     * @param {Server} server - the server its pages use; undefined for pages that only load the library.
     * @param {object} options
     * @param {Network} options.network - the way there, if it has to be one that can be cut.
     * @param {number} options.bitrate - kbit/s that its pages believe they can send at least.
     * @param {boolean} options.olm - has pages exchange keys for end-to-end encryption, with what the web app does it.
     * @param {string} options.executable - starts Chromium elsewhere.
     */
    static async launch(name, server, { network, bitrate, olm, executable = chromium } = {}) {
        const b = new Browser();
        const rules = [ `MAP ${DOMAIN} ${server?.host ?? '127.0.0.1'}` ];

        if (network) {
            rules.unshift(`MAP ${DOMAIN}:${server.ports.https} 127.0.0.1:${network.https}`);
        }
        b.name = name;
        b.server = server;
        b.network = network;
        b.bitrate = bitrate;
        b.olm = olm;
        b.#browser = await playwright.launch({
            executablePath: executable,
            headless: true,
            args: [
                '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
                '--disable-background-networking', '--disable-component-update',
                `--use-fake-device-for-media-stream=fps=${FPS}`, '--use-fake-ui-for-media-stream',
                '--allow-loopback-in-peer-connection', '--ignore-certificate-errors',
                '--autoplay-policy=no-user-gesture-required',
                '--disable-background-timer-throttling', '--disable-renderer-backgrounding',
                '--disable-backgrounding-occluded-windows',
                // The harness page comes from Playwright, so Chromium doesn't know it for a loopback one.
                '--disable-features=WebRtcHideLocalIpsWithMdns,LocalNetworkAccessChecks,'
                    + 'LocalNetworkAccessChecksWebSockets,LocalNetworkAccessChecksWebRTC',
                `--host-resolver-rules=${rules.join(',')}`
            ]
        });

        return b;
    }

    /**
     * Opens a page of the harness, with the library loaded, in a context of its own: its own storage, its own person.
     * `file` is a library other than that of the run.
     */
    async participant(name, file = library) {
        const { page, context } = await this.#open(name);

        await page.addInitScript(options => {
            window.harness = options;
        }, { media: this.network?.media, bitrate: this.bitrate, generation: generation(file) });
        await context.route('**/harness/*', async route => {
            const asked = new URL(route.request().url()).pathname.split('/').pop();

            await route.fulfill(await source(asked, file, this.olm));
        });
        await page.goto(`${this.server?.origin ?? `https://${DOMAIN}`}/harness/meet.html`);
        await page.waitForFunction(() => window.meet?.ready);

        return new Participant(name, page, context, this);
    }

    /** Opens a page as a person would, at a path of the server. */
    async visit(name, path) {
        const { page, context } = await this.#open(name);

        await page.goto(this.server.origin + path, { timeout: 60000 });

        return Object.assign(page, { close: () => context.close() });
    }

    async close() {
        await this.#browser.close();
    }

    async #open(name) {
        const context = await this.#browser.newContext({
            ignoreHTTPSErrors: true,
            viewport: { width: 1280, height: 720 },
            permissions: [ 'camera', 'microphone' ]
        });
        const page = await context.newPage();

        context.setDefaultTimeout(90000);
        mkdirSync(join(cache, 'logs'), { recursive: true });
        const log = createWriteStream(join(cache, 'logs', `${this.name}.${++this.#pages}-${name}.log`));

        page.on('console', m => log.write(`${new Date().toISOString()} ${m.type()} ${m.text()}\n`));
        page.on('pageerror', e => log.write(`${new Date().toISOString()} uncaught ${e.stack}\n`));
        page.on('close', () => log.end());

        return { page, context };
    }
}

/** What the harness serves under /harness/ on the server's own origin, without the server knowing. */
async function source(file, lib, olm) {
    if (file === 'olm.js' && !olm) {
        return { body: '', contentType: 'text/javascript' };
    }
    const served = {
        'meet.html': [ join(root, 'harness', 'meet.html'), 'text/html' ],
        'instrument.js': [ join(root, 'harness', 'instrument.js'), 'text/javascript' ],
        'meet.js': [ join(root, 'harness', 'meet.js'), 'text/javascript' ],
        'jquery.js': [ join(root, 'node_modules', 'jquery', 'dist', 'jquery.min.js'), 'text/javascript' ],
        'olm.js': [ join(root, 'node_modules', '@matrix-org', 'olm', 'olm.js'), 'text/javascript' ],
        'olm.wasm': [ join(root, 'node_modules', '@matrix-org', 'olm', 'olm.wasm'), 'application/wasm' ],
        'lib-jitsi-meet.js': [ lib, 'text/javascript' ],
        'lib-jitsi-meet.e2ee-worker.js': [ join(dirname(lib), 'lib-jitsi-meet.e2ee-worker.js'), 'text/javascript' ]
    }[file];

    if (!served) {
        return { status: 404 };
    }

    return { body: await readFile(served[0]), contentType: served[1] };
}
