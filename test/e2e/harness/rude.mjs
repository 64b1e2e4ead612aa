// Clients that don't behave: raw WebSocket and TCP streams, and datagrams that mean nothing to anybody.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { randomBytes } from 'node:crypto';

import WebSocket from 'ws';

import { sleep, until } from './figures.mjs';
import { DOMAIN } from './server.mjs';

const FRAMING = 'urn:ietf:params:xml:ns:xmpp-framing';
const SASL = 'urn:ietf:params:xml:ns:xmpp-sasl';

/** A WebSocket on which any text can be sent. `received` is all that came back, `closed` whether it is over. */
export class RawWebSocket {
    received = [];
    closed = false;

    static async open(server) {
        const r = new RawWebSocket();

        r.socket = new WebSocket(`wss://127.0.0.1:${server.ports.https}/xmpp-websocket`, 'xmpp', {
            rejectUnauthorized: false, headers: { host: `${DOMAIN}:${server.ports.https}` }
        });
        r.socket.on('message', m => r.received.push(String(m)));
        r.socket.on('close', () => {
            r.closed = true;
        });
        r.socket.on('error', () => {});
        await once(r.socket, 'open');

        return r;
    }

    send(text) {
        return new Promise(done => this.socket.send(text, () => done()));
    }

    /** Opens the stream as far as the offer of mechanisms. */
    async stream() {
        await this.send(`<open to="${DOMAIN}" version="1.0" xmlns="${FRAMING}"/>`);
        await this.got('mechanisms');

        return this;
    }

    /** Becomes an anonymous user and resolves to the full JID. */
    async anonymous() {
        await this.stream();
        await this.send(`<auth mechanism="ANONYMOUS" xmlns="${SASL}"/>`);
        await this.got('<success');
        await this.send(`<open to="${DOMAIN}" version="1.0" xmlns="${FRAMING}"/>`);
        await this.got(':xmpp-bind');
        await this.send('<iq id="b1" type="set" xmlns="jabber:client"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>');

        return /<jid>([^<]+)<\/jid>/.exec(await this.got('<jid>'))[1];
    }

    /** One PLAIN attempt on this stream; resolves to the answer. */
    async plain(user, password) {
        const answers = this.received.length;

        await this.send(`<auth mechanism="PLAIN" xmlns="${SASL}">${Buffer.from(`\0${user}\0${password}`).toString('base64')}</auth>`);

        return until('an answer to the password', () => this.closed ? 'closed' : this.received[answers], { timeout: 30000, every: 5 });
    }

    /** Waits for a message that contains `text`. */
    got(text, timeout = 10000) {
        return until(`the server sends ${text}`, () => this.received.find(m => m.includes(text)),
            { timeout, every: 10, state: async () => ({ closed: this.closed, received: this.received.slice(-3) }) });
    }

    /** Waits until the server has closed the connection. */
    over(timeout = 10000) {
        return until('the server closes the connection', () => this.closed, { timeout, every: 10 });
    }

    close() {
        this.socket.terminate();
    }
}

/** Sends text on a TCP stream and resolves to what came back until the server closed it (or `patience` ms passed). */
export async function rawTCP(server, text, patience = 5000) {
    const socket = connect(server.ports.xmpp, '127.0.0.1');
    let received = '';
    let closed = false;

    socket.on('data', d => {
        received += d;
    });
    socket.on('error', () => {});
    socket.on('close', () => {
        closed = true;
    });
    await once(socket, 'connect');
    socket.write(text);
    await until('the server closes the stream', () => closed, { timeout: patience, every: 10 }).catch(() => {});
    socket.destroy();

    return { received, closed };
}

/** Sends `count` datagrams made by `make` to a UDP port, in bursts that loopback carries. */
export async function shower(port, count, make) {
    const socket = createSocket('udp4');
    let answers = 0;

    socket.on('message', () => {
        answers++;
    });
    for (let i = 0; i < count; i++) {
        socket.send(make(i), port, '127.0.0.1');
        if (i % 200 === 199) {
            await sleep(1);
        }
    }
    await sleep(200);
    socket.close();

    return answers;
}

/** A STUN binding request (RFC 8489) with a user name that belongs to nobody. */
export function unknownSTUN() {
    const name = Buffer.from(`${randomBytes(4).toString('hex')}:${randomBytes(4).toString('hex')}`);
    const attribute = Buffer.concat([ Buffer.from([ 0, 6, 0, name.length ]), name, Buffer.alloc((4 - name.length % 4) % 4) ]);
    const header = Buffer.alloc(20);

    header.writeUInt16BE(0x0001, 0);
    header.writeUInt16BE(attribute.length, 2);
    header.writeUInt32BE(0x2112A442, 4);
    randomBytes(12).copy(header, 8);

    return Buffer.concat([ header, attribute ]);
}

/** Something that looks like RTP, RTCP or DTLS (RFC 7983) and is none. */
export function garbage(i) {
    const packet = randomBytes(12 + i * 37 % 1200);

    packet[0] = [ 0x80, 0x90, 0xBF, 22, 23, 20, 0x40, 0xFF ][i % 8];
    if (i % 16 === 2) {
        packet[1] = 200 + i % 8;
    }

    return packet;
}
