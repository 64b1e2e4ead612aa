// The whiteboard's relay with the client libraries that excalidraw builds have: Socket.IO 2 and 4, each by both transports.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';

import { io as io4 } from 'socket.io-client';
import io2 from 'socket.io-client-v2';

import { until } from './harness/figures.mjs';
import { last } from './harness/meeting.mjs';
import { OverWebSocket } from './harness/plain.mjs';
import { Server } from './harness/server.mjs';

const ROOM = 'board';
const KINDS = [
    [ 'v2 polling', io2, [ 'polling' ] ],
    [ 'v2 websocket', io2, [ 'websocket' ] ],
    [ 'v2 upgrading', io2, [ 'polling', 'websocket' ] ],
    [ 'v4 polling', io4, [ 'polling' ] ],
    [ 'v4 websocket', io4, [ 'websocket' ] ],
    [ 'v4 upgrading', io4, [ 'polling', 'websocket' ] ]
];

/** As excalidraw's Portal does it. */
class Drawer {
    drawn = [];
    users = [];
    newcomers = [];

    constructor(name, connect, transports, url) {
        this.name = name;
        this.socket = connect(url, { transports, rejectUnauthorized: false, forceNew: true, reconnectionDelay: 50 });
        this.socket.on('init-room', () => this.socket.emit('join-room', ROOM));
        this.socket.on('first-in-room', () => (this.first = true));
        this.socket.on('new-user', id => this.newcomers.push(id));
        this.socket.on('room-user-change', ids => (this.users = ids));
        this.socket.on('client-broadcast', (data, iv) => this.drawn.push([ Buffer.from(data).toString('latin1'), Buffer.from(iv).length ]));
    }

    get transport() {
        return this.socket.io.engine.transport.name;
    }

    draw(event, text, iv = 12) {
        const data = Uint8Array.from(Buffer.from(text, 'latin1')).buffer;

        this.socket.emit(event, ROOM, data, new Uint8Array(iv));
    }
}

test('people with all kinds of clients draw on one whiteboard', { timeout: 360000 }, async t => {
    const server = await Server.start('whiteboard');

    last(t, () => server.stop());
    const path = createHash('md5').update(`/${ROOM}`).digest('hex');
    const url = `https://127.0.0.1:${server.ports.https}/?room=${path}`;
    const host = await OverWebSocket.connect('Ann', server);

    last(t, () => host.close());
    await host.join(ROOM);
    await host.noticed('joined', { role: 'moderator' });

    await t.test('nobody without a meeting that has one', async () => {
        for (const [ name, connect, transports ] of KINDS) {
            const socket = connect(url, { transports, rejectUnauthorized: false, forceNew: true, reconnection: false });

            await Promise.race([
                once(socket, 'connect_error'),
                once(socket, 'connect').then(() => assert.fail(`${name} got in`))
            ]);
            socket.close();
        }
    });

    host.order({ do: 'set', key: 'whiteboard', data: { collabDetails: { roomId: ROOM, roomKey: 'k' }, collabServerUrl: url } });
    const drawers = [];

    last(t, () => drawers.forEach(d => d.socket.close()));

    await t.test('all come to it and know each other', async () => {
        for (const [ name, connect, transports ] of KINDS) {
            const d = new Drawer(name, connect, transports, url);

            drawers.push(d);
            await until(`${name} is there`, () => drawers.every(o => o.users.length === drawers.length),
                { state: async () => drawers.map(o => [ o.name, o.users ]) });
        }
        const ids = drawers.map(d => d.socket.id);

        for (const [ i, d ] of drawers.entries()) {
            assert.deepEqual(d.users, ids, d.name);
            assert.deepEqual(d.newcomers, ids.slice(i + 1), d.name);
            assert.equal(Boolean(d.first), i === 0, d.name);
        }
        await until('they have changed over', () => drawers.every(d => d.transport === (d.name.endsWith('polling') ? 'polling' : 'websocket')));
    });

    await t.test('each sees what the others draw, in order', async () => {
        const want = new Map(drawers.map(d => [ d, [] ]));

        for (const d of drawers) {
            const texts = [ `${d.name} \x00\xff\x80`, 'x'.repeat(300000), '' ];

            for (const text of texts) {
                d.draw('server-broadcast', text);
            }
            for (const o of drawers.filter(other => other !== d)) {
                want.get(o).push(...texts.map(text => [ text, 12 ]));
                await until(`${o.name} sees ${d.name}`, () => o.drawn.length === want.get(o).length,
                    { state: async () => o.drawn.map(([ text, iv ]) => [ text.slice(0, 20), text.length, iv ]) });
            }
        }
        for (const d of drawers) {
            assert.deepEqual(d.drawn, want.get(d), d.name);
        }
    });

    await t.test('cursors', async () => {
        drawers.forEach(d => (d.drawn = []));
        drawers[0].draw('server-volatile-broadcast', 'cursor');
        await until('all see the cursor', () => drawers.slice(1).every(d => d.drawn.length === 1));
        assert.equal(drawers[0].drawn.length, 0);
    });

    await t.test('who leaves is missed', async () => {
        for (const d of drawers.splice(0, 2)) {
            d.socket.close();
            await until(`${d.name} has left`, () => drawers.every(o => !o.users.includes(d.socket.id) && o.users.length <= 5));
        }
        await until('four are left', () => drawers.every(o => o.users.length === 4));
    });

    await t.test('it ends with the meeting', async () => {
        const ended = Promise.all(drawers.map(d => once(d.socket, 'disconnect')));

        await host.leave();
        await ended;
    });
});
