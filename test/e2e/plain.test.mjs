// Any XMPP client can come to a meeting: slixmpp over TCP with STARTTLS, @xmpp/client over WebSocket.

import { test } from 'node:test';

import { figure } from './harness/figures.mjs';
import { last, stage } from './harness/meeting.mjs';
import { OverTCP, OverWebSocket } from './harness/plain.mjs';

test('plain clients and a browser in one room', { timeout: 360000 }, async t => {
    const { server, browser } = await stage(t, 'plain');
    const pat = await OverTCP.connect('Pat', server);

    last(t, () => pat.close());
    const wim = await OverWebSocket.connect('Wim', server);

    last(t, () => wim.close());

    await t.test('one that comes first starts the meeting', async () => {
        const began = Date.now();

        await pat.join('plain');
        figure('plain-first-join-ms', Date.now() - began);
    });

    const ann = await browser.participant('Ann');

    await t.test('the others find each other there', async () => {
        await wim.join('plain');
        await ann.join('plain');
        await pat.noticed('user joined', { nick: 'Wim' });
        await pat.noticed('user joined', { nick: ann.id });
        await wim.noticed('user joined', { nick: 'Pat' });
        await wim.noticed('user joined', { nick: ann.id });
    });

    await t.test('each hears the others', async () => {
        const everybody = async (nick, text) => {
            await Promise.all([
                pat.noticed('chat', { nick, text }),
                wim.noticed('chat', { nick, text }),
                nick === ann.id ? undefined : ann.noticed('chat', { id: nick, text })
            ]);
        };

        pat.say('Pat over TCP');
        await everybody('Pat', 'Pat over TCP');
        wim.say('Wim over WebSocket');
        await everybody('Wim', 'Wim over WebSocket');
        await ann.say('Ann in a browser');
        await everybody(ann.id, 'Ann in a browser');
    });

    await t.test('one who leaves is seen to leave', async () => {
        await pat.leave();
        await wim.noticed('user left', { nick: 'Pat' });
    });
});
