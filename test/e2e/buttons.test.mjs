// What people press around the media, with the library's own calls: one presses, the other sees what it does.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { stays, until } from './harness/figures.mjs';
import { gather, stage } from './harness/meeting.mjs';

/** Nobody looks at anybody here; microphones are enough. */
const QUIET = { video: false };

test('buttons', { timeout: 900000 }, async t => {
    const { browser } = await stage(t, 'buttons');
    const modern = await generation(browser) !== 2021;
    let room = 0;
    let people = [];

    t.afterEach(async () => {
        await Promise.all(people.map(p => p.close()));
        people = [];
    });

    /** A meeting of two of its own: the first is moderator. */
    async function two() {
        people = await gather(browser, `buttons${++room}`, [ 'Ann', 'Bob' ], QUIET);

        return people;
    }

    /** Somebody in front of the present room. */
    async function knock(name, how = {}) {
        const p = await browser.participant(name);

        people = [ ...people, p ];
        await p.knock(`buttons${room}`, { ...QUIET, ...how });

        return p;
    }

    const inside = async p => {
        p.id = (await p.noticed('joined')).id;
    };

    await t.test('a password is asked for and let in with', async () => {
        const [ ann, bob ] = await two();

        await assert.rejects(bob.call('lock', 'sesame'), 'a participant locks the room');
        await ann.call('lock', 'sesame');
        await bob.told('LOCK_STATE_CHANGED', locked => locked);
        const cem = await knock('Cem');

        await cem.noticed('outside', { error: 'conference.passwordRequired' });
        const tried = Date.now();

        await cem.call('join', 'guess');
        await until('Cem is refused again', async () => (await cem.events()).find(e => e.name === 'outside' && e.at > tried));
        await cem.call('join', 'sesame');
        await inside(cem);
        await ann.call('unlock');
        await cem.told('LOCK_STATE_CHANGED', locked => !locked);
        const dan = await knock('Dan');

        await inside(dan);
    });

    await t.test('the lobby: knock, refuse, admit, open', async () => {
        const [ ann, bob ] = await two();

        await ann.call('enableLobby');
        await bob.told('MEMBERS_ONLY_CHANGED', on => on);
        const cem = await knock('Cem');
        const outside = await cem.noticed('outside', { error: 'conference.connectionError.membersOnly' });

        assert.match(outside.details[0], /@lobby\./);
        cem.call('joinLobby', 'Cem').catch(() => {});
        const [ first ] = await ann.told('LOBBY_USER_JOINED', (id, name) => name === 'Cem');

        await stays('Bob, no moderator, is not told', async () => !(await bob.event('LOBBY_USER_JOINED')), 500);
        await ann.call('lobbyDenyAccess', first);
        await cem.noticed('outside', { error: 'conference.connectionError.accessDenied' });

        const dan = await knock('Dan');

        await dan.noticed('outside', { error: 'conference.connectionError.membersOnly' });
        dan.call('joinLobby', 'Dan').catch(() => {});
        const [ second ] = await ann.told('LOBBY_USER_JOINED', (id, name) => name === 'Dan');

        await ann.call('lobbyApproveAccess', second);
        await inside(dan);
        await bob.noticed('user joined', { user: 'Dan' });

        const eve = await knock('Eve');

        await eve.noticed('outside', { error: 'conference.connectionError.membersOnly' });
        eve.call('joinLobby', 'Eve').catch(() => {});
        await ann.told('LOBBY_USER_JOINED', (id, name) => name === 'Eve');
        await ann.call('disableLobby');
        await bob.told('MEMBERS_ONLY_CHANGED', on => !on);
        await inside(eve); // without help
    });

    await t.test('moderators grant, mute and kick; others do not', async () => {
        const [ ann, bob ] = await two();
        const cem = await knock('Cem');

        await inside(cem);
        await bob.call('muteParticipant', ann.id, 'audio');
        await bob.call('kickParticipant', ann.id, 'no');
        await ann.call('muteParticipant', bob.id, 'audio');
        await cem.noticed('mute', { id: bob.id, type: 'audio', muted: true });
        assert.equal(await cem.event('mute', { id: ann.id, muted: true }), undefined);
        await ann.call('grantOwner', bob.id);
        await cem.noticed('role', { id: bob.id, role: 'moderator' });
        await until('Bob knows', () => bob.isModerator());
        await bob.call('kickParticipant', cem.id, 'enough');
        await cem.noticed('kicked');
        await ann.told('PARTICIPANT_KICKED', (actor, victim, why) => actor.id === bob.id && victim.id === cem.id && why === 'enough');
        await ann.call('revokeOwner', bob.id);
        await ann.noticed('role', { id: bob.id, role: 'none' }).catch(() => ann.noticed('role', { id: bob.id, role: 'participant' }));
    });

    await t.test('AV moderation: ask, approve, reject', async () => {
        const [ ann, bob ] = await two();

        await ann.hears([ bob ]);
        for (const type of [ 'audio', 'video' ]) {
            await ann.call('enableAVModeration', type);
            await bob.told('AV_MODERATION_CHANGED', ({ enabled, mediaType, actor }) => enabled && mediaType === type && actor?.id === ann.id);
        }
        await bob.noticed('mute', { type: 'audio', muted: true });
        await ann.noticed('mute', { id: bob.id, type: 'audio', muted: true });
        await bob.call('setLocalParticipantProperty', 'raisedHand', String(Date.now()));
        await ann.told('PARTICIPANT_PROPERTY_CHANGED', (p, name) => p.id === bob.id && name === 'raisedHand');
        await ann.call('avModerationApprove', 'audio', bob.id);
        await bob.told('AV_MODERATION_APPROVED', ({ mediaType }) => mediaType === 'audio');
        await ann.told('AV_MODERATION_PARTICIPANT_APPROVED', ({ participant, mediaType }) => participant.id === bob.id && mediaType === 'audio');
        await bob.mute('audio', false);
        await ann.noticed('mute', { id: bob.id, type: 'audio', muted: false });
        await ann.call('avModerationReject', 'audio', bob.id);
        await bob.told('AV_MODERATION_REJECTED', ({ mediaType }) => mediaType === 'audio');
        await ann.call('disableAVModeration', 'audio');
        await bob.told('AV_MODERATION_CHANGED', ({ enabled, mediaType }) => !enabled && mediaType === 'audio');
    });

    await t.test('breakout rooms: open, send, talk apart, come back, close', async () => {
        const [ ann, bob ] = await two();
        const main = `buttons${room}`;
        const roomOf = (rooms, name) => Object.values(rooms).find(r => r.name === name);

        await ann.call('getBreakoutRooms.createBreakoutRoom', 'Side');
        const [ rooms ] = await bob.told('BREAKOUT_ROOMS_UPDATED', r => roomOf(r.rooms ?? r, 'Side'));
        const side = roomOf(rooms.rooms ?? rooms, 'Side');
        const mainRoom = Object.values(rooms.rooms ?? rooms).find(r => r.isMainRoom);
        const bobThere = Object.values(mainRoom.participants).find(p => p.displayName === 'Bob');

        await ann.call('getBreakoutRooms.sendParticipantToRoom', bobThere.jid, side.jid);
        const [ to ] = await bob.told('BREAKOUT_ROOMS_MOVE_TO_ROOM');

        assert.equal(to, side.jid);
        await bob.move(to);
        await ann.told('BREAKOUT_ROOMS_UPDATED', r => Object.values(roomOf(r.rooms ?? r, 'Side').participants).some(p => p.displayName === 'Bob'));
        await ann.say('only here');
        await stays('Bob does not hear it', async () => !(await bob.event('chat')), 500);
        const cem = await knock('Cem');

        await inside(cem);
        await cem.move(side.jid);
        await bob.noticed('user joined', { user: 'Cem' });
        await cem.say('we two');
        await bob.noticed('chat', { text: 'we two' });
        assert.equal(await ann.event('chat', { text: 'we two' }), undefined);
        await bob.move(mainRoom.jid);
        await ann.noticedSince('user joined', 0);
        assert.equal(mainRoom.id, main);
        const closed = Date.now();

        await ann.call('getBreakoutRooms.removeBreakoutRoom', side.jid);
        await ann.told('BREAKOUT_ROOMS_UPDATED', r => !roomOf(r.rooms ?? r, 'Side'), closed);
        await until('Cem is put out of the closed room', async () => (await cem.events()).find(e => e.at > closed && [ 'outside', 'left' ].includes(e.name)));
    });

    await t.test('chat, privately too; reactions; subject', async () => {
        const [ ann, bob ] = await two();
        const cem = await knock('Cem');

        await inside(cem);
        await ann.call('sendPrivateTextMessage', bob.id, 'between us');
        await bob.told('PRIVATE_MESSAGE_RECEIVED', (id, text) => id === ann.id && text === 'between us');
        await bob.call('sendEndpointMessage', '', { name: 'endpoint-reaction', reactions: [ 'like' ], timestamp: 1 });
        await ann.noticed('endpoint message', { id: bob.id });
        await ann.call('setSubject', 'Budget');
        await bob.told('SUBJECT_CHANGED', s => s === 'Budget');
        assert.equal(await cem.event('PRIVATE_MESSAGE_RECEIVED'), undefined);
    });

    await t.test('who joins is muted when the moderator wants it', async () => {
        const [ ann ] = await two();

        await ann.call('setStartMutedPolicy', { audio: true, video: true });
        const cem = await knock('Cem');

        await inside(cem);
        await cem.told('START_MUTED_POLICY_CHANGED', p => p.audio && p.video);
    });

    await t.test('speaker statistics survive for later comers', async () => {
        const [ ann, bob ] = await two();

        await ann.noticed('dominant speaker', {}, 20000).catch(() => {});
        const cem = await knock('Cem');

        await inside(cem);
        const stats = await until('Cem knows the others', async () => {
            const s = await cem.call('getSpeakerStats');

            return s[ann.id] && s[bob.id] && s;
        });

        assert.ok(stats[cem.id], 'and itself');
    });

    await t.test('polls, message reactions, metadata, retraction', { skip: !modern && 'not in the 2021 library' }, async () => {
        const [ ann, bob ] = await two();

        await ann.call('getPolls.createPoll', 'p1', 'Lunch?', [ { name: 'Pizza' }, { name: 'Soup' } ]);
        await bob.told('POLL_RECEIVED', p => p.question === 'Lunch?');
        await bob.call('getPolls.answerPoll', 'p1', [ true, false ]);
        await ann.told('POLL_ANSWER_RECEIVED', a => a.pollId === 'p1');
        const cem = await knock('Cem');

        await inside(cem);
        await cem.told('POLL_RECEIVED', p => p.pollId === 'p1' && p.answers[0].voters.length === 1);
        await ann.say('react to me');
        const chat = await bob.noticed('chat', { text: 'react to me' });

        assert.ok(chat);
        await ann.call('getMetadataHandler.setMetadata', 'followMe', { on: true });
        await bob.told('METADATA_UPDATED', m => m.followMe?.on);
        await bob.call('getMetadataHandler.setMetadata', 'followMe', { on: false });
        await stays('a participant sets nothing', async () => !(await ann.events()).some(e => e.name === 'METADATA_UPDATED' && e.args[0].followMe?.on === false), 500);
    });

    await t.test('a screen under moderation', { skip: !modern && 'the 2021 library moderates no screens' }, async () => {
        const [ ann, bob ] = await two();
        const shows = on => async () => (await ann.does('screens')).some(s => !s.muted) === on;

        await bob.does('share');
        await until('Ann is shown the screen', shows(true));
        await ann.call('enableAVModeration', 'desktop');
        await bob.told('AV_MODERATION_CHANGED', ({ enabled, mediaType }) => enabled && mediaType === 'desktop');
        await until('the screen is gone', shows(false));
        await ann.call('avModerationApprove', 'desktop', bob.id);
        await bob.told('AV_MODERATION_APPROVED', ({ mediaType }) => mediaType === 'desktop');
        await bob.does('unmuteScreen');
        await until('Ann is shown the screen again', shows(true));
    });

    await t.test('shared files', { skip: !modern && 'not in the 2021 library' }, async () => {
        const [ ann, bob ] = await two();
        const { status, fileId } = await ann.does('upload', 'minutes 50 %.txt', 'Ann was there.');

        assert.equal(status, 201);
        await bob.told('FILE_SHARING_FILE_ADDED', f => f.fileId === fileId && f.fileName === 'minutes 50 %.txt' && f.authorParticipantName === 'Ann');
        assert.deepEqual(await bob.does('download', fileId), { status: 200, fileName: 'minutes 50 %.txt', text: 'Ann was there.' });
        const refused = await bob.does('upload', 'mine.txt', 'Bob was, too.'); // no moderator

        assert.equal(refused.status, 403);
        const cem = await knock('Cem');

        await inside(cem);
        await cem.told('FILE_SHARING_FILES_RECEIVED', files => files[fileId]?.fileSize === 14);
        assert.equal(await ann.does('unshare', fileId), 204);
        await cem.told('FILE_SHARING_FILE_REMOVED', id => id === fileId);
        assert.equal((await bob.does('download', fileId)).status, 404);
    });

    await t.test('end of the meeting for all', { skip: !modern && 'not in the 2021 library' }, async () => {
        const [ ann, bob ] = await two();

        await ann.call('end');
        await until('Bob is told', async () => (await bob.events()).find(e => [ 'left', 'kicked', 'outside' ].includes(e.name)));
    });
});

/** The year of the library in use. */
async function generation(browser) {
    const p = await browser.participant('Scout');
    const year = await p.page.evaluate(() => window.harness.generation);

    await p.close();

    return year;
}
