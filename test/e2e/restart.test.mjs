// kill -9 in the middle of a meeting: accounts and settings are there again, the clients find back by themselves.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { figure } from './harness/figures.mjs';
import { everybodySeesEverybody, gather, stage } from './harness/meeting.mjs';

test('the server is killed and started again', { timeout: 540000 }, async t => {
    const { server, browser } = await stage(t, 'restart');
    const accounts = await server.command('user', 'list');

    assert.match(accounts, /\bhost\b/);
    const people = await gather(browser, 'restart', [ 'Ann', 'Bob' ], { rejoin: true });

    await everybodySeesEverybody(people);
    await server.kill();
    figure('ready-after-restart-ms', await server.run());
    const back = Date.now();

    await t.test('the account is still there', async () => {
        assert.equal(await server.command('user', 'list'), accounts);
        assert.equal(server.stdout.split(server.login.password).length, 2, 'the password was printed once');
    });

    await t.test('the clients rejoin by themselves', async () => {
        for (const person of people) {
            await person.noticed('starting over', {}, 60000);
            await person.noticedSince('joined', back, 60000);
            person.id = (await person.event('joined')).id;
        }
        await everybodySeesEverybody(people, 60000);
        figure('meeting-back-after-restart-ms', Date.now() - back);
    });
});
