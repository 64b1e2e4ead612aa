// The library of December 2021 and the one in LJM in one meeting.

import { test } from 'node:test';

import { stays, until } from './harness/figures.mjs';
import { gather, stage } from './harness/meeting.mjs';
import { generation, npmLibrary } from './harness/paths.mjs';

const QUIET = { video: false };

test('old and new in one meeting', { timeout: 540000, skip: generation() === 2021 && 'LJM names no library of today' }, async t => {
    const { browser } = await stage(t, 'both');
    const roomOf = (r, name) => Object.values(r.rooms ?? r).find(x => x.name === name);
    const isIn = (r, name, who) => Object.values(roomOf(r, name)?.participants ?? {}).some(p => p.displayName === who);

    for (const [ host, guest ] of [ [ 'new', 'old' ], [ 'old', 'new' ] ]) {
        await t.test(`a ${host} moderator, an ${guest} guest: lobby, breakout room, chat, mute`, async () => {
            const room = `both-${host}`;
            const library = which => which === 'old' ? npmLibrary : undefined;
            const ann = await browser.participant('Ann', library(host));

            await ann.join(room, QUIET);
            const [ bob ] = await gather(browser, room, [ 'Bob' ], QUIET);

            await ann.call('enableLobby');
            await bob.told('MEMBERS_ONLY_CHANGED', on => on);
            const cem = await browser.participant('Cem', library(guest));

            await cem.knock(room, QUIET);
            await cem.noticed('outside', { error: 'conference.connectionError.membersOnly' });
            cem.call('joinLobby', 'Cem').catch(() => {});
            const [ id ] = await ann.told('LOBBY_USER_JOINED', (_, name) => name === 'Cem');

            await ann.call('lobbyApproveAccess', id);
            cem.id = (await cem.noticed('joined')).id;
            const three = [ ann, bob, cem ];

            await Promise.all(three.map(p => p.hears(three.filter(o => o !== p))));
            await cem.say('good morning');
            await Promise.all([ ann, bob ].map(p => p.noticed('chat', { text: 'good morning' })));
            await ann.call('muteParticipant', cem.id, 'audio');
            await bob.noticed('mute', { id: cem.id, type: 'audio', muted: true });

            await ann.call('getBreakoutRooms.createBreakoutRoom', 'Side');
            const [ rooms ] = await cem.told('BREAKOUT_ROOMS_UPDATED', r => roomOf(r, 'Side'));
            const main = Object.values(rooms.rooms ?? rooms).find(r => r.isMainRoom);
            const there = Object.values(main.participants).find(p => p.displayName === 'Cem');

            await ann.call('getBreakoutRooms.sendParticipantToRoom', there.jid, roomOf(rooms, 'Side').jid);
            const [ to ] = await cem.told('BREAKOUT_ROOMS_MOVE_TO_ROOM');

            await Promise.all([ cem.move(to), bob.move(to) ]);
            await ann.told('BREAKOUT_ROOMS_UPDATED', r => isIn(r, 'Side', 'Cem') && isIn(r, 'Side', 'Bob'));
            await bob.say('apart');
            await cem.noticed('chat', { text: 'apart' });
            await stays('Ann does not hear it', async () => !await ann.event('chat', { text: 'apart' }), 300);
            await Promise.all([ cem.move(main.jid), bob.move(main.jid) ]); // the lobby does not stop them
            await until('all three are in the main room', async () => (await ann.call('getParticipants')).length === 2);
            await cem.say('back');
            await Promise.all([ ann, bob ].map(p => p.noticed('chat', { text: 'back' })));
            await Promise.all(three.map(p => p.close()));
        });
    }
});
