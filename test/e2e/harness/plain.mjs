// Plain XMPP clients beside the browsers: slixmpp over TCP with STARTTLS, @xmpp/client over WebSocket.

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { client, xml } from '@xmpp/client';
import WebSocket from 'ws';

import { until } from './figures.mjs';
import { root } from './paths.mjs';
import { DOMAIN } from './server.mjs';

// @xmpp/client takes the global, which Node 20 lacks; the server's certificate is its own.
globalThis.WebSocket = class extends WebSocket {
    constructor(url, protocols) {
        super(url, protocols, { rejectUnauthorized: false });
    }
};

const MUC = 'http://jabber.org/protocol/muc';

/** What both kinds can do; a subclass carries out `order` and keeps `events`. */
class Plain {
    events = [];

    constructor(name) {
        this.name = name;
    }

    async join(room, nick = this.name) {
        this.order({ do: 'join', room: `${room}@conference.${DOMAIN}`, nick });

        return this.noticed('joined', { nick });
    }

    say(text) {
        this.order({ do: 'say', text });
    }

    /** Sends raw XML; {room} and {jid} stand for the room and the own address. */
    send(xml) {
        this.order({ do: 'send', xml });
    }

    /** Waits for a stanza that came after a moment and has all these pieces of text. */
    got(pieces, from = 0, timeout = 10000) {
        return until(`${this.name} gets ${pieces.join(' … ')}`,
            () => this.events.slice(from).find(e => e.xml && pieces.every(p => e.xml.includes(p)))?.xml,
            { timeout, state: async () => this.events.slice(-6) });
    }

    leave() {
        this.order({ do: 'leave' });

        return this.noticed('left');
    }

    noticed(name, like = {}, timeout = 15000) {
        return until(`${this.name} notices "${name}" ${JSON.stringify(like)}`,
            () => this.events.findLast(e => e.name === name && Object.entries(like).every(([ k, v ]) => e[k] === v)),
            { timeout, state: async () => this.events.slice(-12) });
    }
}

export class OverTCP extends Plain {
    #child;

    static async connect(name, server) {
        const p = new OverTCP(name);

        p.#child = spawn(process.env.PYTHON ?? '/usr/bin/python3',
            [ join(root, 'harness', 'plain.py'), DOMAIN, String(server.ports.xmpp) ],
            { stdio: [ 'pipe', 'pipe', 'ignore' ] });
        createInterface({ input: p.#child.stdout }).on('line', line => p.events.push(JSON.parse(line)));
        p.jid = (await p.noticed('connected', { secure: true })).jid;

        return p;
    }

    order(order) {
        this.#child.stdin.write(JSON.stringify(order) + '\n');
    }

    async close() {
        this.#child.stdin.end();
        try {
            await until(`${this.name} ends`, () => this.#child.exitCode !== null, { timeout: 10000 });
        } finally {
            this.#child.kill('SIGKILL');
        }
    }
}

export class OverWebSocket extends Plain {
    #xmpp;
    #room;
    #nick;

    static async connect(name, server) {
        const p = new OverWebSocket(name);
        // The library resolves names itself; the path to the server is the address, the domain that of the stream.
        const xmpp = p.#xmpp = client({
            service: `wss://127.0.0.1:${server.ports.https}/xmpp-websocket`, domain: DOMAIN
        });

        xmpp.on('error', e => p.events.push({ name: 'failed', error: String(e) }));
        xmpp.on('stanza', stanza => p.#receive(stanza));
        p.jid = String(await xmpp.start());
        p.events.push({ name: 'connected', jid: p.jid });

        return p;
    }

    order(order) {
        if (order.do === 'join') {
            this.#room = order.room;
            this.#nick = order.nick;
            this.#xmpp.send(xml('presence', { to: `${order.room}/${order.nick}` }, xml('x', { xmlns: MUC })));
        } else if (order.do === 'set') {
            this.#xmpp.send(xml('message', { to: `metadata.${DOMAIN}` },
                xml('room_metadata', { xmlns: 'http://jitsi.org/jitmeet', room: this.#room },
                    JSON.stringify({ key: order.key, data: order.data }))));
        } else if (order.do === 'say') {
            this.#xmpp.send(xml('message', { to: this.#room, type: 'groupchat' }, xml('body', {}, order.text)));
        } else {
            this.#xmpp.send(xml('presence', { to: `${this.#room}/${this.#nick}`, type: 'unavailable' }));
        }
    }

    async close() {
        await this.#xmpp.stop();
    }

    #receive(stanza) {
        const [ room, nick ] = (stanza.attrs.from ?? '').split('/');

        if (room !== this.#room) {
            return;
        }
        if (stanza.is('message') && stanza.getChildText('body')) {
            this.events.push({ name: 'chat', nick, text: stanza.getChildText('body') });
        } else if (stanza.is('presence')) {
            const user = stanza.getChild('x', `${MUC}#user`);
            const self = user?.getChildren('status').some(s => s.attrs.code === '110');
            const gone = stanza.attrs.type === 'unavailable';

            if (stanza.attrs.type === 'error') {
                const error = stanza.getChild('error');

                this.events.push({
                    name: 'refused', condition: error?.children[0]?.name, text: error?.getChildText('text')
                });
            } else {
                this.events.push({
                    name: gone ? self ? 'left' : 'user left' : self ? 'joined' : 'user joined',
                    nick, role: user?.getChild('item')?.attrs.role
                });
            }
        }
    }
}
