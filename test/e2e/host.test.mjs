// require_host: a guest waits, the host logs in with the account that the first start printed, the guest comes in.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { figure, stays } from './harness/figures.mjs';
import { everybodySeesEverybody, stage } from './harness/meeting.mjs';

const QUIET = { video: false };

test('a guest waits for the host', { timeout: 360000 }, async t => {
    const { server, browser } = await stage(t, 'host', { requireHost: true });

    assert.ok(server.login.password, `a password was printed:\n${server.stdout}`);
    const guest = await browser.participant('Guest');
    const host = await browser.participant('Host');

    await t.test('the guest is told to wait', async () => {
        await guest.knock('secure');
        await guest.noticed('waiting for a host');
        await stays('the guest is outside', async () => !await guest.event('joined'), 3000);
    });

    await t.test('a wrong password does not open the room', async () => {
        await host.knock('secure');
        await host.noticed('waiting for a host');
        await assert.rejects(host.logIn({ ...server.login, password: '0000-0000-0000-0000' }));
        assert.equal(await guest.event('joined'), undefined);
    });

    await t.test('the host logs in and the guest comes in', async () => {
        const began = Date.now();

        await host.logIn(server.login);
        host.id = (await host.noticed('joined')).id;
        figure('host-login-to-room-ms', Date.now() - began);
        guest.id = (await guest.noticed('joined')).id;
        figure('host-login-to-guest-in-ms', Date.now() - began);
        await everybodySeesEverybody([ host, guest ]);
        assert.equal(await host.isModerator(), true);
        assert.equal(await guest.isModerator(), false);
    });
});

test('people wait in the lobby until a host comes', { timeout: 360000 }, async t => {
    const { server, browser } = await stage(t, 'wait-for-host', { toml: '[rooms]\nwait_for_host = true' });
    const guest = await browser.participant('Guest');
    const host = await browser.participant('Host');

    for (const p of [ guest, host ]) {
        await p.knock('later', QUIET);
        const { error } = await p.noticed('outside');

        assert.equal(error, 'conference.connectionError.membersOnly');
        p.call('joinLobby', p.name).catch(() => {});
    }
    await stays('nobody is in', async () => !await guest.event('joined') && !await host.event('joined'), 1000);
    await host.logIn(server.login);
    host.id = (await host.noticed('joined')).id;
    guest.id = (await guest.noticed('joined')).id;
    await Promise.all([ host.hears([ guest ]), guest.hears([ host ]) ]);
    assert.equal(await host.isModerator(), true);
    assert.equal(await guest.isModerator(), false);
});

test('a meeting of hosts has a lobby', { timeout: 360000 }, async t => {
    const { server, browser } = await stage(t, 'host-lobby', { requireHost: true });
    const host = await browser.participant('Host');

    await host.knock('secure', QUIET);
    await host.noticed('waiting for a host');
    await host.logIn(server.login);
    await host.noticed('joined');
    await host.call('enableLobby');
    await host.told('MEMBERS_ONLY_CHANGED', on => on);
    const guest = await browser.participant('Guest');

    await guest.knock('secure', QUIET);
    await guest.noticed('outside', { error: 'conference.connectionError.membersOnly' });
    guest.call('joinLobby', 'Guest').catch(() => {});
    const [ id ] = await host.told('LOBBY_USER_JOINED', (_, name) => name === 'Guest');

    await host.call('lobbyApproveAccess', id);
    await guest.noticed('joined');
    assert.equal(await guest.isModerator(), false);
});
