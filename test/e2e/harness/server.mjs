// One `confab serve` process with its own data directory and ports, so that any number can stand side by side.

import { execFile, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { Final, until } from './figures.mjs';
import { cache, program } from './paths.mjs';

/**
 * The name all pages use. Chromium resolves it without asking anybody, for STUN and TURN servers too (it looks those
 * up in a way that --host-resolver-rules don't reach, and its network process may crash over a name it can't resolve).
 * Nothing else needs to resolve it.
 */
export const DOMAIN = 'meet.localhost';

/** The operator's key for the HTTP interface. */
const KEY = 'the-key-of-the-e2e-tests';

/** deployment.md §7.1: sixteen symbols of Crockford base32 in four groups, printed once. */
const PASSWORD = /\b[0-9A-HJKMNP-TV-Z]{4}(?:-[0-9A-HJKMNP-TV-Z]{4}){3}\b/;

export class Server {
    #child;
    #log;
    stdout = '';

    /**
     * Starts a server and waits until it answers its health check.
     *
     * @param {string} name - names the log file, .cache/logs/NAME.server.log.
     * @param {object} options
     * @param {boolean} options.requireHost - only hosts open rooms.
     * @param {string} options.toml - further lines of the configuration file, tables only.
     * @param {string[]} options.admin - further lines of [admin].
     * @param {string[]} options.top - further lines before the first table.
     * @param {string} options.host - the address at which its pages find it.
     */
    static async start(name, { requireHost = false, toml = '', top = [], admin = [], host = '127.0.0.1' } = {}) {
        const s = new Server();

        s.name = name;
        s.host = host;
        s.ports = await freePorts();
        s.data = await mkdtemp(join(tmpdir(), 'confab-e2e-'));
        s.config = join(s.data, 'confab.toml');
        await writeFile(s.config, [
            ...requireHost ? [ 'require_host = true' ] : [],
            ...top,
            '[network]',
            `public_addresses = ["${host}"]`,
            '[admin]',
            `listen = "127.0.0.1:${s.ports.admin}"`,
            ...admin.some(line => line.startsWith('api_keys')) ? [] : [ `api_keys = ["${KEY}"]` ],
            ...admin,
            toml,
            ''
        ].join('\n'));
        try {
            await s.run();
        } catch (e) {
            await s.stop();
            throw e;
        }
        s.login = {
            user: `host@${DOMAIN}`,
            password: s.stdout.match(PASSWORD)?.[0]
        };

        return s;
    }

    get origin() {
        return `https://${DOMAIN}:${this.ports.https}`;
    }

    get pid() {
        return this.#child.pid;
    }

    /** Starts the process, again on the same ports and data directory after a kill. Resolves to ms until ready. */
    async run() {
        await mkdir(join(cache, 'logs'), { recursive: true });
        this.#log ??= createWriteStream(join(cache, 'logs', `${this.name}.server.log`));
        const began = performance.now();
        const child = spawn(program, [
            'serve', '--config', this.config, '--data', join(this.data, 'data'), '--domain', DOMAIN,
            '--https', `${this.host}:${this.ports.https}`,
            '--media-port', String(this.ports.media),
            '--turn-port', String(this.ports.turn),
            '--xmpp-port', String(this.ports.xmpp)
        ], { stdio: [ 'ignore', 'pipe', 'pipe' ] });

        this.#child = child;
        child.stdout.on('data', d => {
            this.stdout += d;
            this.#log.write(d);
        });
        child.stderr.on('data', d => this.#log.write(d));
        let failed;

        child.once('error', e => {
            failed = e;
        });
        await until('the server answers /about/health', async () => {
            if (failed) {
                throw new Final(`${program}: ${failed.message}`);
            }
            if (child.exitCode !== null) {
                throw new Final(`the server ended with ${child.exitCode}, see ${this.name}.server.log`);
            }

            return await this.status('/about/health') === 200;
        }, { timeout: 10000, every: 20 });

        return performance.now() - began;
    }

    /** Status of a GET on the HTTPS port. */
    status(path) {
        return new Promise((resolve, reject) => {
            const req = get({
                host: this.host, port: this.ports.https, path, servername: DOMAIN, rejectUnauthorized: false,
                agent: false, headers: { host: `${DOMAIN}:${this.ports.https}` }
            }, res => {
                res.resume();
                resolve(res.statusCode);
            });

            req.once('error', reject);
        });
    }

    /** Runs another command of the program on the same data, `confab user list` say, and resolves to its stdout. */
    async command(...args) {
        const { stdout } = await promisify(execFile)(program, [
            ...args, '--config', this.config, '--data', join(this.data, 'data'), '--domain', DOMAIN
        ]);

        return stdout;
    }

    /** The bridge's own view of its conferences: what it gets from whom and forwards to whom. */
    async bridge() {
        return (await fetch(`http://127.0.0.1:${this.ports.admin}/debug/bridge`)).json();
    }

    /** What the relay carries: GET /turn/allocations. */
    async allocations() {
        return (await (await this.#api('GET', '/turn/allocations')).json()).allocations;
    }

    /** Ends an allocation of the relay. */
    async endAllocation({ number }) {
        const { status } = await this.#api('DELETE', `/turn/allocations/${number}`);

        if (status !== 204) {
            throw new Error(`allocation ${number} not ended: ${status}`);
        }
    }

    /** One request of the operator to the HTTP interface. */
    #api(method, path) {
        return fetch(`http://127.0.0.1:${this.ports.admin}/_/api/v1${path}`, { method, headers: { authorization: `Bearer ${KEY}` } });
    }

    /** Resident memory in bytes, once after the kernel's own count. */
    async memory() {
        const status = await readFile(`/proc/${this.pid}/status`, 'utf8');

        return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)[1]) * 1024;
    }

    /** kill -9: nothing is flushed, nobody is told. */
    async kill() {
        await this.#end('SIGKILL');
    }

    async stop() {
        await this.#end('SIGTERM');
        this.#log.end();
        await rm(this.data, { recursive: true, force: true });
    }

    async #end(signal) {
        const child = this.#child;

        if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) {
            return;
        }
        const gone = once(child, 'exit');
        const hard = setTimeout(() => child.kill('SIGKILL'), 60000);

        child.kill(signal);
        await gone;
        clearTimeout(hard);
    }
}

/**
 * Five free ports whose neighbours are free too: `--xmpp-port P` also takes P+1, as does `--turn-port`. They lie
 * below the range that the kernel hands out, so that no outgoing connection takes one between kill and restart, and above
 * those of internal/freeport.
 */
async function freePorts() {
    const ports = {};
    const taken = new Set();

    for (const use of [ 'https', 'media', 'turn', 'xmpp', 'admin' ]) {
        do {
            ports[use] = 29000 + 2 * Math.floor(Math.random() * 1800);
        } while (taken.has(ports[use]) || !(await free(ports[use]) && await free(ports[use] + 1)));
        taken.add(ports[use]);
    }

    return ports;
}

async function free(port) {
    const tcp = createServer();
    const udp = createSocket('udp4');

    try {
        tcp.listen(port);
        await once(tcp, 'listening');
        udp.bind(port);
        await once(udp, 'listening');

        return true;
    } catch {
        return false;
    } finally {
        tcp.close();
        udp.close();
    }
}
