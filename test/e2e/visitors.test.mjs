// Visitors: who comes when the meeting is full of participants looks on, is let in, and is sent back.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { stays, until } from './harness/figures.mjs';
import { gather, stage } from './harness/meeting.mjs';
import { generation } from './harness/paths.mjs';

test('visitors', { timeout: 540000, skip: generation() === 2021 && 'the 2021 library knows no visitors' }, async t => {
    const { browser } = await stage(t, 'visitors', { toml: '[visitors]\nafter = 2' });
    const [ ann, bob ] = await gather(browser, 'stage', [ 'Ann', 'Bob' ], { height: 180 });
    const eve = await browser.participant('Eve');
    let request;

    await t.test('the third looks on: sees and hears, and is not seen', async () => {
        eve.id = undefined;
        await eve.join('stage', { height: 180 });
        assert.equal((await eve.event('redirected')).vnode, 'v0');
        assert.equal(await eve.call('isVisitorsSupported'), false);
        await eve.seesAndHears([ ann, bob ]);
        await ann.seesAndHears([ bob ]);
        assert.equal(await ann.event('user joined', { user: 'Eve' }), undefined);
        assert.equal((await ann.call('getParticipants')).length, 1);
    });

    await t.test('they talk', async () => {
        await ann.say('welcome');
        await eve.noticed('chat', { text: 'welcome' });
        await eve.say('thank you');
        await bob.noticed('chat', { text: 'thank you' });
    });

    await t.test('a hand goes up: the moderator is asked, nobody else', async () => {
        await eve.call('setLocalParticipantProperty', 'raisedHand', String(Date.now()));
        const [ message ] = await ann.told('VISITORS_MESSAGE', m => m.action === 'promotion-request' && m.on);

        assert.equal(message.nick, 'Eve');
        request = message;
        await stays('Bob is not asked', async () => !(await bob.event('VISITORS_MESSAGE')), 500);
    });

    await t.test('a no', async () => {
        await ann.call('sendMessage', { type: 'visitors', action: 'promotion-response', approved: false, id: request.from });
        await eve.noticed('VISITORS_REJECTION');
        await ann.told('VISITORS_MESSAGE', m => m.action === 'promotion-request' && !m.on); // as other moderators are
        await eve.call('setLocalParticipantProperty', 'raisedHand', '');
        const again = Date.now();

        await eve.call('setLocalParticipantProperty', 'raisedHand', String(again));
        [ request ] = await ann.told('VISITORS_MESSAGE', m => m.action === 'promotion-request' && m.on, again);
    });

    await t.test('a yes of somebody who may not say it', async () => {
        await bob.call('sendMessage', { type: 'visitors', action: 'promotion-response', approved: true, id: request.from });
        await stays('Eve stays where she is', async () => (await eve.events()).filter(e => e.name === 'redirected').length === 1, 500);
    });

    await t.test('a yes: Eve takes part', async () => {
        const asked = Date.now();

        await ann.call('sendMessage', { type: 'visitors', action: 'promotion-response', approved: true, id: request.from });
        await ann.noticed('user joined', { user: 'Eve' });
        eve.id = (await eve.noticedSince('joined', asked)).id;
        await Promise.all([ eve.seesAndHears([ ann, bob ]), ann.seesAndHears([ eve ]), bob.sees([ eve ]) ]);
        await until('the list of the promoted has her', async () => (await ann.events()).some(
            e => e.name === 'METADATA_UPDATED' && Object.keys(e.args[0].visitors?.promoted ?? {}).includes(eve.id)));
    });

    await t.test('and back again', async () => {
        await ann.call('sendMessage', { type: 'visitors', action: 'demote-request', id: eve.id, actor: ann.id });
        const [ message ] = await eve.told('VISITORS_MESSAGE', m => m.action === 'demote-request');

        assert.deepEqual([ message.id, message.actor ], [ eve.id, ann.id ]);
        await eve.does('demote'); // which is what the web app does then
        await ann.noticed('user left', { id: eve.id });
        assert.equal((await eve.event('redirected')).vnode, 'v0');
        await eve.seesAndHears([ ann, bob ]);
    });

    await t.test('the end is everybody\'s', async () => {
        await Promise.all([ ann.leave(), bob.leave() ]);
        await until('Eve is told', async () => (await eve.events()).some(e => [ 'kicked', 'left', 'outside' ].includes(e.name)));
    });
});
