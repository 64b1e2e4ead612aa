// What plain XMPP clients can do in a meeting and see of it: slixmpp over TCP, no browser.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { stays } from './harness/figures.mjs';
import { last } from './harness/meeting.mjs';
import { OverTCP } from './harness/plain.mjs';
import { DOMAIN, Server } from './harness/server.mjs';

const ROOM = `plainly@conference.${DOMAIN}`;
const form = fields => `<iq type='set' id='form' to='${ROOM}'><query xmlns='http://jabber.org/protocol/muc#owner'>`
    + '<x xmlns=\'jabber:x:data\' type=\'submit\'><field var=\'FORM_TYPE\'><value>http://jabber.org/protocol/muc#roomconfig</value></field>'
    + Object.entries(fields).map(([ k, v ]) => `<field var='muc#roomconfig_${k}'><value>${v}</value></field>`).join('') + '</x></query></iq>';
const admin = item => `<iq type='set' id='admin' to='${ROOM}'><query xmlns='http://jabber.org/protocol/muc#admin'>${item}</query></iq>`;
const command = (component, inner) => `<message to='${component}.${DOMAIN}'>${inner}</message>`;

test('plain XMPP clients use what meetings offer', { timeout: 360000 }, async t => {
    const server = await Server.start('plainbuttons');

    last(t, () => server.stop());
    const people = {};

    for (const name of [ 'Ann', 'Bob', 'Cem' ]) {
        people[name] = await OverTCP.connect(name, server);
        last(t, () => people[name].close());
    }
    const { Ann: ann, Bob: bob, Cem: cem } = people;

    await t.test('the first one moderates', async () => {
        await ann.join('plainly');
        await ann.noticed('joined', { nick: 'Ann', role: 'moderator' });
        await bob.join('plainly');
        await bob.noticed('joined', { nick: 'Bob', role: 'participant' });
    });

    await t.test('a password', async () => {
        bob.send(form({ roomsecret: 'mine' }));
        await bob.got([ 'id="form"', 'forbidden' ]);
        ann.send(form({ roomsecret: 'sesame' }));
        await ann.got([ 'id="form"', 'type="result"' ]);
        cem.order({ do: 'join', room: ROOM, nick: 'Cem' });
        await cem.noticed('refused', { condition: 'not-authorized' });
        ann.send(form({ roomsecret: '', membersonly: '1' }));
    });

    await t.test('the lobby tells what to do, and an invitation lets in', async () => {
        await stays('Bob stays in', async () => !bob.events.some(e => e.name === 'left'), 300);
        cem.order({ do: 'join', room: ROOM, nick: 'Cem' });
        const { text } = await cem.noticed('refused', { condition: 'registration-required' });

        assert.match(text, new RegExp(`plainly@lobby.${DOMAIN}`));
        cem.order({ do: 'enter', room: `plainly@lobby.${DOMAIN}` });
        const invite = `<message to='${ROOM}'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='${cem.jid}'/></x></message>`;

        bob.send(invite); // no moderator
        await bob.got([ 'type="error"', 'forbidden', 'from="plainly@conference' ]);
        ann.send(invite);
        await cem.got([ '<invite', `jid="${ROOM}"` ]);
        await cem.join('plainly');
        await ann.noticed('user joined', { nick: 'Cem' });
        ann.send(form({ membersonly: '0' }));
    });

    await t.test('AV moderation, polls and breakout rooms are the moderators\'', async () => {
        for (const [ component, inner ] of [
            [ 'avmoderation', '<av_moderation enable=\'true\' mediaType=\'audio\'/>' ],
            [ 'breakout', '<breakout_rooms type=\'features/breakout-rooms/add\' subject=\'Side\'/>' ],
            [ 'endconference', '<end_conference/>' ]
        ]) {
            const before = bob.events.length;

            bob.send(command(component, inner));
            await bob.got([ `from="${component}.`, 'forbidden' ], before);
        }
        ann.send(command('avmoderation', '<av_moderation enable=\'true\' mediaType=\'audio\'/>'));
        await bob.got([ 'av_moderation', 'enabled' ]);
        ann.send(command('breakout', '<breakout_rooms type=\'features/breakout-rooms/add\' subject=\'Side\'/>'));
        await bob.got([ 'features/breakout-rooms/update', 'Side' ]);
        bob.send(command('polls', '<json-message xmlns=\'http://jitsi.org/jitmeet\'>{"type":"polls","command":"new-poll","pollId":"p1",'
            + '"question":"Lunch?","answers":[{"name":"Pizza"},{"name":"Soup"}]}</json-message>'));
        await ann.got([ 'new-poll', 'Lunch?' ]);
    });

    await t.test('kick and ban', async () => {
        bob.send(admin('<item nick=\'Ann\' role=\'none\'/>'));
        await bob.got([ 'id="admin"', 'type="error"' ]);
        ann.send(admin('<item nick=\'Cem\' role=\'none\'><reason>enough</reason></item>'));
        await cem.got([ 'code="307"', 'enough' ]);
        const banned = ann.events.length;

        ann.send(admin(`<item jid='${cem.jid.split('/')[0]}' affiliation='outcast'/>`));
        await ann.got([ 'id="admin"', 'type="result"' ], banned);
        const before = cem.events.length;

        cem.order({ do: 'join', room: ROOM, nick: 'Cem' });
        await cem.noticed('refused', { condition: 'forbidden' });
        assert.equal(cem.events.slice(before).some(e => e.name === 'joined'), false);
    });

    await t.test('the end for all', async () => {
        ann.send(command('endconference', '<end_conference/>'));
        await bob.got([ 'destroy', 'The meeting has been terminated' ]);
    });
});
