// A network that can be taken away: all that a browser sends to the server passes through two proxies on loopback.
//
// TCP (page, XMPP WebSocket, bridge WebSocket): the browser resolves the server's name and port to the proxy.
// UDP (media): the page rewrites the bridge's port in the candidates it is offered, see instrument.js.
// TURN is not proxied; with the bridge's port out of reach of the candidates, a relayed path leads nowhere.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

const HOST = '127.0.0.1';

export class Network {
    #tcp;
    #udp;
    #connections = new Set();
    #held = [];
    #ways = new Map();
    #up = true;

    /** Builds a network in front of a server with these ports. */
    static async to({ https, media }) {
        const n = new Network();

        n.#tcp = createServer({ pauseOnConnect: true }, socket => n.#up ? n.#pipe(socket, https) : n.#hold(socket, https));
        n.#tcp.listen(0, HOST);
        await once(n.#tcp, 'listening');
        n.https = n.#tcp.address().port;

        n.#udp = createSocket('udp4');
        n.#udp.bind(0, HOST);
        await once(n.#udp, 'listening');
        n.media = { from: media, to: n.#udp.address().port };
        n.#udp.on('message', (packet, from) => n.#up && n.#way(from, media).send(packet, media, HOST));

        return n;
    }

    /** Takes the network away: connections break, new ones get no answer, packets are lost in both directions. */
    cut() {
        this.#up = false;
        for (const socket of this.#connections) {
            socket.destroy();
        }
    }

    /** Gives it back. Connections that were tried meanwhile now get through, as retransmitted SYNs would. */
    mend() {
        this.#up = true;
        for (const [ socket, port ] of this.#held.splice(0)) {
            if (!socket.destroyed) {
                this.#pipe(socket, port);
            }
        }
    }

    close() {
        this.cut();
        this.#held.forEach(([ socket ]) => socket.destroy());
        this.#tcp.close();
        this.#udp.close();
        this.#ways.forEach(way => way.close());
    }

    #hold(socket, port) {
        socket.on('error', () => {});
        this.#held.push([ socket, port ]);
    }

    #pipe(browser, port) {
        const server = connect(port, HOST);

        for (const [ one, other ] of [ [ browser, server ], [ server, browser ] ]) {
            this.#connections.add(one);
            one.on('error', () => other.destroy());
            one.on('close', () => {
                this.#connections.delete(one);
                other.destroy();
            });
            one.pipe(other);
        }
    }

    /** The socket on which the server sees the browser's socket `from`. */
    #way(from, media) {
        let way = this.#ways.get(from.port);

        if (!way) {
            way = createSocket('udp4');
            way.on('message', packet => this.#up && this.#udp.send(packet, from.port, from.address));
            way.on('error', () => {});
            this.#ways.set(from.port, way);
        }

        return way;
    }
}
