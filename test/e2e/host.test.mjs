// require_host: a guest waits, the host logs in with the account that the first start printed, the guest comes in.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { figure, stays } from './harness/figures.mjs';
import { everybodySeesEverybody, stage } from './harness/meeting.mjs';

test('a guest waits for the host', { timeout: 120000 }, async t => {
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
