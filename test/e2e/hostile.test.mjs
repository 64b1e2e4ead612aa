// Bad input of every kind while two people talk: a clear error or a drop each, and the two notice nothing.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { figure, slowness, until } from './harness/figures.mjs';
import { everybodySeesEverybody, gather, stage } from './harness/meeting.mjs';
import { garbage, RawWebSocket, rawTCP, shower, unknownSTUN } from './harness/rude.mjs';
import { DOMAIN } from './harness/server.mjs';

const ROOM = `hostile@conference.${DOMAIN}`;

/** The server's answer to bad XML, as the specifications word it: RFC 6120 §4.9.3.13, §4.9.3.14, RFC 7395 §3.3. */
const STREAM_ERROR = /not-well-formed|restricted-xml|invalid-xml|bad-format|invalid-namespace|unsupported-stanza-type|policy-violation|<close/;

test('bad input disturbs nobody', { timeout: 900000 }, async t => {
    const { server, browser } = await stage(t, 'hostile');
    const people = await gather(browser, 'hostile', [ 'Ann', 'Bob' ]);
    const [ ann, bob ] = people;

    await everybodySeesEverybody(people);
    const began = Date.now();
    const before = await server.memory();
    const quiet = watch(people);

    for (const [ what, text ] of Object.entries({
        'an unclosed tag': '<iq type="get" id="1"><ping></iq>',
        'a document type': '<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>',
        'an entity of its own': '<message xmlns="jabber:client"><body>&lol;</body></message>',
        'a processing instruction': '<?php echo 1 ?><presence xmlns="jabber:client"/>',
        'no XML at all': '{"hello": "world"}',
        'an unknown element': '<nonsense xmlns="urn:example:nothing"/>',
        'a thousand levels': '<a xmlns="jabber:client">'.repeat(1000)
    })) {
        await t.test(`malformed XML on a WebSocket: ${what}`, async () => {
            const rude = await (await RawWebSocket.open(server)).stream();

            await rude.send(text);
            await rude.over();
            assert.match(rude.received.slice(2).join(''), STREAM_ERROR);
        });
    }

    await t.test('malformed XML on TCP', async () => {
        const { received, closed } = await rawTCP(server,
            `<?xml version='1.0'?><stream:stream to="${DOMAIN}" version="1.0" xmlns="jabber:client" `
            + 'xmlns:stream="http://etherx.jabber.org/streams"><iq <<<>>>');

        assert.ok(closed);
        assert.match(received, STREAM_ERROR);
    });

    await t.test('a stanza of 10 MB before and after logging in', async () => {
        const huge = `<message xmlns="jabber:client" to="${ROOM}"><body>${'x'.repeat(10 << 20)}</body></message>`;
        const stranger = await (await RawWebSocket.open(server)).stream();

        await stranger.send(huge);
        await stranger.over();
        const guest = await RawWebSocket.open(server);

        await guest.anonymous();
        await guest.send(huge);
        await guest.over();
    });

    await t.test('a wrong password a hundred times', async () => {
        const answers = { failure: 0, closed: 0 };
        const asked = Date.now();
        let tries = 0;

        // The server takes its time with each answer: five ask side by side.
        await Promise.all(Array.from({ length: 5 }, async () => {
            let rude;

            while (tries++ < 100) {
                rude = rude && !rude.closed ? rude : await (await RawWebSocket.open(server)).stream();
                const answer = await rude.plain('host', `wrong-${tries}`);

                assert.doesNotMatch(answer, /<success/);
                answers[answer.includes('<failure') ? 'failure' : 'closed']++;
            }
            rude?.close();
        }));
        figure('hundred-wrong-passwords-ms', Date.now() - asked);
        assert.ok(answers.failure > 0, `some were answered: ${JSON.stringify(answers)}`);
    });

    await t.test('a forged sender', async () => {
        const rude = await RawWebSocket.open(server);

        await rude.anonymous();
        await rude.send(`<iq xmlns="jabber:client" id="f1" type="set" from="${ROOM}/focus" to="${ann.jid}">`
            + `<jingle xmlns="urn:xmpp:jingle:1" action="session-terminate" sid="x" initiator="${ROOM}/focus"/></iq>`);
        await rude.send(`<message xmlns="jabber:client" type="groupchat" from="${ROOM}/${bob.id}" to="${ROOM}">`
            + '<body>not from Bob</body></message>').catch(() => {});
        await until('an answer', () => rude.closed || rude.received.some(m => /type=['"]error['"]|invalid-from/.test(m)));
        rude.close();
        for (const person of people) {
            assert.equal(await person.event('chat', { text: 'not from Bob' }), undefined);
        }
    });

    await t.test('10,000 STUN requests of nobody', async () => {
        figure('stun-of-nobody-answers', await shower(server.ports.media, 10000, unknownSTUN));
        await shower(server.ports.turn, 10000, unknownSTUN);
    });

    await t.test('10,000 datagrams that only look like media', async () => {
        assert.equal(await shower(server.ports.media, 10000, garbage), 0);
    });

    await t.test('garbage on the bridge channel', async () => {
        const eve = await browser.participant('Eve');

        await eve.join('hostile');
        await eve.sees([ ann, bob ]);
        const messages = [
            '', '{', '[]', 'null', '42', '"text"', '{"colibriClass":7}', '{"colibriClass":"NoSuchThing"}',
            '{"colibriClass":"ReceiverVideoConstraints","lastN":"all","constraints":[1,2]}',
            '{"colibriClass":"ReceiverVideoConstraints","lastN":-99999999999,"defaultConstraints":{"maxHeight":1e99}}',
            `{"colibriClass":"EndpointMessage","to":"nobody","msgPayload":${'['.repeat(10000)}${']'.repeat(10000)}}`,
            `{"colibriClass":"SourceVideoTypeMessage","sourceName":"${ann.id}-v0","videoType":"none"}`
        ];

        assert.ok(await eve.garble(messages) > 0, 'a channel was open');
        await ann.say('still here?');
        await bob.noticed('chat', { text: 'still here?' });
        await eve.leave();
        await ann.noticed('user left', { id: eve.id });
    });

    await t.test('the two noticed nothing', async () => {
        const gaps = await quiet();

        figure('longest-gap-between-frames-ms', Math.max(...gaps));
        assert.ok(Math.max(...gaps) < 3000, `gaps between frames, beside what the pages took to answer: ${gaps}`);
        for (const person of people) {
            const bad = (await person.events()).filter(e => e.at > began && (
                [ 'interrupted', 'connection failed', 'conference failed', 'disconnected', 'kicked', 'starting over' ]
                    .includes(e.name)
                || e.name === 'peerconnection' && e.state !== 'connected'
                || e.name === 'xmpp socket closed'
                || e.name === 'user left' && people.some(p => p.id === e.id)));

            assert.deepEqual(bad, []);
        }
        figure('memory-before-bad-input-mb', before / 2 ** 20);
        figure('memory-after-bad-input-mb', await server.memory() / 2 ** 20);
    });
});

/**
 * Watches that each goes on seeing the other; the function returned ends it and gives the longest gap of each, in ms. A
 * busy machine stops pages as well, so a gap is shortened by ten times what the other page and this one took to answer.
 */
function watch(people) {
    const gaps = people.map(() => 0);
    let watching = true;
    const done = Promise.all(people.map(async (person, i) => {
        const other = people[1 - i];
        let frames = -1;
        let since = Date.now();
        let slow = 0; // since then

        while (watching) {
            slow = Math.max(slow, await slowness([ other ]));
            const asked = Date.now();
            const now = (await person.stats()).participants[other.id]?.video?.frames ?? 0;

            slow = Math.max(slow, Date.now() - asked);
            gaps[i] = Math.max(gaps[i], Date.now() - since - 10 * slow);
            if (now > frames) {
                frames = now;
                since = Date.now();
                slow = 0;
            }
            await new Promise(r => setTimeout(r, 200));
        }
    }));

    return async () => {
        watching = false;
        await done;

        return gaps;
    };
}
