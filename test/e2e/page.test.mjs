// The server's own page at /ROOM, as people open it.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { figure, until } from './harness/figures.mjs';
import { gather, stage } from './harness/meeting.mjs';
import { cache } from './harness/paths.mjs';
import { DOMAIN } from './harness/server.mjs';

const KEY = 'key-of-the-tests-0123456789';

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

const inside = page => page.locator('#tiles [data-name]').nth(1).waitFor();

const shoot = (page, name) => page.screenshot({ path: join(cache, `page-${name}.png`) });

test('two people on our own page', { timeout: 360000 }, async t => {
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

test('a guest waits for the host on our own page', { timeout: 360000 }, async t => {
    const { server, browser } = await stage(t, 'page-host', { requireHost: true });
    const guest = await enter(browser, 'Guest', '/our-page');
    const host = await enter(browser, 'Host', '/our-page');

    await guest.getByRole('dialog').getByText('Waiting for the host').waitFor();
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

test('doors on our own page', { timeout: 540000 }, async t => {
    const { server, browser } = await stage(t, 'page-doors', { toml: '[rooms]\nrequire_display_name = true', admin: [ `api_keys = ["${KEY}"]` ] });
    const [ ann, bob ] = await gather(browser, 'doors', [ 'Ann', 'Bob' ], { video: false });

    await t.test('the lobby: refused, and let in', async () => {
        await ann.call('enableLobby');
        await bob.told('MEMBERS_ONLY_CHANGED', on => on);
        const cem = await enter(browser, 'Cem', '/doors');
        const [ first ] = await ann.told('LOBBY_USER_JOINED', (_, name) => name === 'Cem');

        await cem.getByRole('dialog').getByText('Waiting to be let in').waitFor();
        await shoot(cem, 'lobby');
        await ann.call('lobbyDenyAccess', first);
        await cem.getByText('You were not let in.').waitFor();
        await shoot(cem, 'refused');
        const again = Date.now();

        await cem.getByRole('button', { name: 'Join again' }).click();
        await cem.getByRole('button', { name: /^join$/i }).click();
        const [ second ] = await ann.told('LOBBY_USER_JOINED', (_, name) => name === 'Cem', again);

        await ann.call('lobbyApproveAccess', second);
        await inside(cem);
        assert.equal(await cem.getByRole('dialog').isVisible(), false);
        const opened = Date.now();

        await ann.call('disableLobby');
        // The library closes the room again when it sets a password before it has heard that it is open.
        await Promise.all([ ann, bob ].map(p => p.told('MEMBERS_ONLY_CHANGED', on => !on, opened)));
        await cem.close();
    });

    await t.test('the password', async () => {
        await ann.call('lock', 'sesame');
        const dan = await enter(browser, 'Dan', '/doors');

        await dan.locator('#room-password').fill('guess');
        await shoot(dan, 'password');
        await dan.locator('#room-password').press('Enter');
        await dan.getByText('That was not it.').waitFor();
        await dan.locator('#room-password').fill('sesame');
        await dan.locator('#room-password').press('Enter');
        await inside(dan);
        await ann.call('unlock');
        await dan.close();
    });

    await t.test('no name, no entry', async () => {
        const page = await browser.visit('Nobody', '/doors');

        await page.getByRole('button', { name: /^join/i }).click();
        assert.equal(await page.locator('#display-name:invalid').count(), 1);
        assert.equal(await page.locator('#meeting').isVisible(), false);
        await page.close();
    });

    await t.test('put out', async () => {
        const eve = await enter(browser, 'Eve', '/doors');
        const { id } = await ann.noticed('user joined', { user: 'Eve' });

        await inside(eve);
        await ann.call('kickParticipant', id, 'Too loud.');
        await eve.getByText('You were removed from the meeting. Too loud.').waitFor();
        await shoot(eve, 'kicked');
        await eve.close();
    });

    await t.test('the end of the meeting', async () => {
        const fay = await enter(browser, 'Fay', '/doors');

        await inside(fay);
        const ended = await fetch(`http://127.0.0.1:${server.ports.admin}/end-meeting?conference=doors@conference.${DOMAIN}`, {
            method: 'POST', headers: { authorization: `Bearer ${KEY}` }
        });

        assert.equal(ended.status, 200);
        await fay.getByText('The meeting is over for you').waitFor();
        await shoot(fay, 'ended');
    });
});

test('our own page while nobody of the house is there', { timeout: 360000 }, async t => {
    const { server, browser } = await stage(t, 'page-wait', { toml: '[rooms]\nwait_for_host = true' });
    const guest = await enter(browser, 'Guest', '/later');
    const host = await enter(browser, 'Host', '/later');

    await guest.getByRole('dialog').getByText('Waiting to be let in').waitFor();
    await host.getByRole('dialog').getByText('I am the host').click();
    await host.locator('#login-user').fill(server.login.user);
    await host.locator('#login-password').fill(server.login.password);
    await host.getByRole('button', { name: 'Log in' }).click();
    await Promise.all([ inside(host), inside(guest) ]);
});
