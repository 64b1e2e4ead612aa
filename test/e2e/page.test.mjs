// The server's own page at /ROOM, as people open it.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { figure, until } from './harness/figures.mjs';
import { stage } from './harness/meeting.mjs';
import { cache } from './harness/paths.mjs';

/** Opens the page of a room and goes through its preview. */
async function enter(browser, name, path) {
    const page = await browser.visit(name, path);

    await page.locator('input[name=name]:visible').fill(name);
    await page.getByRole('button', { name: /^join/i }).click();

    return page;
}

/** Waits until the own video and that of the other play. */
function playsTwo(page) {
    return until('two videos play: the own one and the other', () => page.evaluate(() =>
        [ ...document.querySelectorAll('video') ].filter(v => v.videoWidth > 0 && v.currentTime > 0.5).length === 2),
    { timeout: 40000, state: () => page.locator('#status').textContent() });
}

const shoot = (page, name) => page.screenshot({ path: join(cache, `page-${name}.png`) });

test('two people on our own page', { timeout: 120000 }, async t => {
    const { browser } = await stage(t, 'page');
    const began = Date.now();
    const ann = await enter(browser, 'Ann', '/our-page');
    const bob = await enter(browser, 'Bob', '/our-page');

    await t.test('they see each other', async () => {
        await Promise.all([ playsTwo(ann), playsTwo(bob) ]);
        figure('own-page-two-see-each-other-ms', Date.now() - began);
        await shoot(ann, 'meeting');
    });

    await t.test('they chat', async () => {
        await ann.getByTitle('Chat', { exact: true }).click();
        await ann.locator('#chat-text').fill('good morning');
        await ann.locator('#chat-text').press('Enter');
        await until('Bob has something to read', () => bob.locator('#unread').isVisible());
        await bob.getByTitle('Chat', { exact: true }).click();
        await bob.getByText('good morning').waitFor();
        await shoot(bob, 'chat');
    });

    await t.test('one mutes and leaves', async () => {
        await bob.locator('#meeting').getByTitle(/microphone/).click();
        await bob.locator('#meeting').getByTitle(/camera/).click();
        await ann.locator('[data-name=Bob][data-audio-muted=true][data-video-muted=true]').waitFor();
        await shoot(ann, 'muted');
        await bob.getByTitle('Leave', { exact: true }).click();
        await ann.getByText('Only you').waitFor();
        await shoot(bob, 'left');
    });
});

test('a guest waits for the host on our own page', { timeout: 120000 }, async t => {
    const { server, browser } = await stage(t, 'page-host', { requireHost: true });
    const guest = await enter(browser, 'Guest', '/our-page');
    const host = await enter(browser, 'Host', '/our-page');

    await guest.getByRole('dialog').waitFor();
    await shoot(guest, 'waiting');
    await host.getByRole('dialog').getByText('I am the host').click();
    await host.locator('#login-user').fill(server.login.user);
    await host.locator('#login-password').fill('wrong');
    await host.getByRole('button', { name: 'Log in' }).click();
    await host.getByText('User name or password is wrong.').waitFor();
    await host.locator('#login-password').fill(server.login.password);
    await host.getByRole('button', { name: 'Log in' }).click();
    await Promise.all([ playsTwo(host), playsTwo(guest) ]);
    assert.equal(await host.locator('#host-button').isVisible(), false, 'the host need not log in again');
    assert.equal(await guest.locator('#host-button').isVisible(), true);
});
