// The server's own page at /ROOM, as a person opens it: two see each other.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { figure, until } from './harness/figures.mjs';
import { stage } from './harness/meeting.mjs';
import { cache } from './harness/paths.mjs';

test('two people on our own page', { timeout: 90000 }, async t => {
    const { browser } = await stage(t, 'page');
    const began = Date.now();
    const pages = [];

    for (const name of [ 'Ann', 'Bob' ]) {
        const page = await browser.visit(name, '/our-page');
        const field = page.locator('input[name=name]:visible');

        if (await field.count()) {
            await field.fill(name);
        }
        await page.getByRole('button', { name: /^join/i }).click();
        pages.push(page);
    }
    for (const page of pages) {
        await until('two videos play: the own one and the other', () => page.evaluate(() => {
            const playing = [ ...document.querySelectorAll('video') ].filter(v => v.videoWidth > 0 && v.currentTime > 0.5);

            return playing.length >= 2;
        }), { timeout: 40000 });
    }
    figure('own-page-two-see-each-other-ms', Date.now() - began);
    for (const [ i, page ] of pages.entries()) {
        await page.screenshot({ path: join(cache, `page-${i}.png`) });
    }
    assert.equal(pages.length, 2);
});
