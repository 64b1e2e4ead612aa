// Records what the senders of the scenarios play: .cache/clip.json, made by Chromium's own encoders (record.html).
//
// The senders play the recording rather than encode, so that each run sends the same and two cores are enough.

import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { chromium as playwright } from '../e2e/node_modules/playwright-core/index.mjs';
import { chromium } from '../e2e/harness/paths.mjs';

const here = import.meta.dirname;

export const clip = join(here, '.cache', 'clip.json');

/** What lib-jitsi-meet lets a 720-line VP8 camera send: its standard bit rates. */
const CAMERA = {
    seconds: 60,
    warmUp: 8,
    fps: 30,
    layers: [
        { width: 320, height: 180, bitrate: 200000 },
        { width: 640, height: 360, bitrate: 500000 },
        { width: 1280, height: 720, bitrate: 1500000 }
    ]
};
const MICROPHONE = { seconds: 60, bitrate: 32000 };

/** Makes the recording unless it is there. */
export async function record() {
    if (await stat(clip).then(() => true, () => false)) {
        return clip;
    }
    await mkdir(join(here, '.cache'), { recursive: true });
    const browser = await playwright.launch({ executablePath: chromium, headless: true, args: [ '--no-sandbox', '--disable-gpu' ] });

    try {
        const page = await browser.newPage();

        page.on('pageerror', e => console.error(e));
        // WebCodecs want a secure origin.
        await page.route('https://record.localhost/', async route =>
            route.fulfill({ body: await readFile(join(here, 'record.html')), contentType: 'text/html' }));
        await page.goto('https://record.localhost/');
        const layers = await page.evaluate(o => camera(o), CAMERA);
        const opus = await page.evaluate(o => microphone(o), MICROPHONE);

        for (const { height, frames } of layers) {
            const bits = frames.reduce((sum, [ , data ]) => sum + data.length * 6, 0);
            const keys = frames.filter(([ , data ]) => !(Buffer.from(data, 'base64')[0] & 1)).length;

            console.log(`recorded ${height} lines: ${frames.length} frames, ${keys} key, first ${Math.round(frames[0][1].length * 0.75)} bytes, ${
                Math.round(bits / CAMERA.seconds / 1000)} kbit/s, layers ${frames.slice(0, 9).map(f => f[0]).join(' ')}`);
        }
        await writeFile(`${clip}.new`, JSON.stringify({ fps: CAMERA.fps, layers, opus }));
        await rename(`${clip}.new`, clip);
    } finally {
        await browser.close();
    }

    return clip;
}

if (process.argv[1] === import.meta.filename) {
    console.log(await record());
}
