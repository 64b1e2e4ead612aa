// Who gets in where: tenants, full rooms, names, members.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { stays } from './harness/figures.mjs';
import { gather, stage } from './harness/meeting.mjs';
import { generation } from './harness/paths.mjs';

const QUIET = { video: false };

test('getting in', { timeout: 540000 }, async t => {
    const { browser } = await stage(t, 'entry', {
        toml: '[rooms]\nmax_occupants = 3\nrequire_display_name = true\n[[tenants]]\nname = "acme"\nmax_occupants = 2'
    });
    const acme = { ...QUIET, tenant: 'acme' };
    let people = [];

    t.afterEach(async () => {
        await Promise.all(people.map(p => p.close()));
        people = [];
    });

    /** Somebody who tries to come in. */
    async function knock(name, room, how) {
        const p = await browser.participant(name || 'Nobody');

        people.push(p);
        await p.knock(room, { ...how, name });

        return p;
    }

    await t.test('a tenant\'s room is another room', async () => {
        people = await gather(browser, 'standup', [ 'Ann', 'Bob' ], acme);
        const [ ann, bob ] = people;
        const [ other ] = await gather(browser, 'standup', [ 'Cem' ], QUIET);

        people.push(other);
        await Promise.all([ ann.hears([ bob ]), bob.hears([ ann ]) ]);
        await ann.say('in house');
        await bob.noticed('chat', { text: 'in house' });
        assert.equal(await other.event('user joined'), undefined);
        assert.equal(await other.event('chat'), undefined);
        assert.equal(await other.isModerator(), true);

        const third = await knock('Dan', 'standup', acme);

        await third.noticed('outside', { error: 'conference.max_users' }); // the tenant's limit is two
    });

    await t.test('the lobby of a tenant\'s room', async () => {
        people = await gather(browser, 'lobbied', [ 'Ann' ], acme);
        const [ ann ] = people;

        await ann.call('enableLobby');
        const bob = await knock('Bob', 'lobbied', acme);

        await bob.noticed('outside', { error: 'conference.connectionError.membersOnly' });
        bob.call('joinLobby', 'Bob').catch(() => {});
        const [ id ] = await ann.told('LOBBY_USER_JOINED', (_, name) => name === 'Bob');

        await ann.call('lobbyApproveAccess', id);
        await bob.noticed('joined');
    });

    await t.test('a full room, until somebody leaves', async () => {
        people = await gather(browser, 'full', [ 'Ann', 'Bob', 'Cem' ], QUIET);
        const dan = await knock('Dan', 'full', QUIET);

        await dan.noticed('outside', { error: 'conference.max_users' });
        await people[0].leave();
        await people[1].noticed('user left');
        await dan.does('again');
        await dan.noticed('joined');
    });

    await t.test('nobody without a name', async () => {
        people = await gather(browser, 'named', [ 'Ann' ], QUIET);
        const nobody = await knock('', 'named', QUIET);
        const { error } = await nobody.noticed('outside');

        generation() === 2021 || assert.equal(error, 'conference.display_name_required');
        await stays('it is outside', async () => !await nobody.event('joined'), 300);
        await nobody.call('setDisplayName', 'Somebody');
        await nobody.does('again');
        await nobody.noticed('joined');
        await people[0].noticed('user joined', { user: 'Somebody' });
    });

    await t.test('members come back without knocking', async () => {
        people = await gather(browser, 'members', [ 'Ann' ], QUIET);
        const [ ann ] = people;

        await ann.call('enableLobby');
        const bob = await knock('Bob', 'members', QUIET);

        await bob.noticed('outside', { error: 'conference.connectionError.membersOnly' });
        const [ lobby ] = (await bob.event('outside')).details;

        assert.equal(lobby, 'members@lobby.meet.localhost');
        bob.call('joinLobby', 'Bob').catch(() => {});
        const [ id ] = await ann.told('LOBBY_USER_JOINED', (_, name) => name === 'Bob');

        await ann.call('lobbyApproveAccess', id);
        await bob.noticed('joined');
        const left = Date.now();

        await bob.does('reenter');
        await bob.noticedSince('joined', left);
    });
});
