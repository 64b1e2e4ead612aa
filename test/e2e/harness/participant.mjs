// One person in a meeting, as a test script sees it: a harness page and what can be asked of it.

import { until } from './figures.mjs';

export class Participant {
    constructor(name, page, context, browser) {
        this.name = name;
        this.page = page;
        this.context = context;
        this.browser = browser;
    }

    /** Opens fake devices without joining; resolves to the settings of the tracks. */
    devices(options = {}) {
        return this.page.evaluate(o => window.meet.devices(o), options);
    }

    /** Joins (options: meet.js) and resolves to ms from the click to the room. */
    async join(room, options = {}) {
        const began = Date.now();
        const { id, jid } = await this.page.evaluate(o => window.meet.join(o), { room, name: this.name, ...options });

        this.id = id;
        this.jid = jid;

        return Date.now() - began;
    }

    /** Begins to join and returns at once; for meetings that don't open yet. */
    async knock(room, options = {}) {
        await this.page.evaluate(o => {
            window.meet.join(o).catch(e => window.meet.note('join failed', { error: String(e) }));
        }, { room, name: this.name, ...options });
    }

    leave() {
        return this.page.evaluate(() => window.meet.leave());
    }

    say(text) {
        return this.page.evaluate(t => window.meet.say(t), text);
    }

    mute(type, muted = true) {
        return this.page.evaluate(([ t, m ]) => window.meet.mute(t, m), [ type, muted ]);
    }

    ask(height) {
        return this.page.evaluate(h => window.meet.ask(h), height);
    }

    logIn({ user, password }) {
        return this.page.evaluate(([ u, p ]) => window.meet.logIn(u, p), [ user, password ]);
    }

    /** Calls the library's conference: call('lock', 'secret'), call('getPolls.createPoll', poll). */
    call(path, ...args) {
        return this.page.evaluate(([ p, a ]) => window.meet.call(p, ...a), [ path, args ]);
    }

    /** Goes to another room of the meeting and takes the id that it has there. */
    async move(roomJid) {
        await this.page.evaluate(j => window.meet.move(j), roomJid);
        this.id = (await this.page.evaluate(() => window.meet.me())).id;
    }

    /** Does something that meet.js names: does('upload', 'a.txt', 'text'). */
    does(what, ...args) {
        return this.page.evaluate(([ w, a ]) => window.meet[w](...a), [ what, args ]);
    }

    /** Waits for a library event after a moment (ms since the epoch) whose arguments satisfy `like`. */
    async told(name, like = () => true, since = 0, timeout = 10000) {
        const event = await until(`${this.name} is told ${name}`,
            async () => (await this.events()).find(e => e.name === name && e.at >= since && like(...e.args)),
            { timeout, state: async () => (await this.events()).slice(-12) });

        return event.args;
    }

    isModerator() {
        return this.page.evaluate(() => window.meet.isModerator());
    }

    garble(messages) {
        return this.page.evaluate(m => window.meet.garble(m), messages);
    }

    stats() {
        return this.page.evaluate(() => window.meet.stats());
    }

    /** The diary of the page: [{at, name, …}]. */
    events() {
        return this.page.evaluate(() => window.meet.events());
    }

    /** The last event of that name (and with these properties), or undefined. */
    async event(name, like = {}) {
        return (await this.events()).findLast(e => e.name === name
            && Object.entries(like).every(([ k, v ]) => e[k] === v));
    }

    /** Waits for an event. */
    noticed(name, like = {}, timeout = 20000) {
        return until(`${this.name} notices "${name}" ${JSON.stringify(like)}`, () => this.event(name, like),
            { timeout, state: async () => (await this.events()).slice(-12) });
    }

    /** Waits for an event after a moment (ms since the epoch). */
    noticedSince(name, moment, timeout = 20000) {
        return until(`${this.name} notices "${name}" again`,
            async () => (await this.events()).find(e => e.name === name && e.at > moment),
            { timeout, state: async () => (await this.events()).slice(-12) });
    }

    /** Waits until the video and the audio of all of `others` have grown over two samples. */
    async seesAndHears(others, timeout = 30000) {
        await Promise.all([ this.sees(others, timeout), this.hears(others, timeout) ]);
    }

    sees(others, timeout = 30000) {
        return this.#grows('video', 'frames', others, timeout);
    }

    seesScreen(others, timeout = 30000) {
        return this.#grows('screen', 'frames', others, timeout);
    }

    /** How often the page took a description of the other side. */
    negotiations() {
        return this.page.evaluate(() => window.instrument.negotiations());
    }

    hears(others, timeout = 30000) {
        return this.#grows('audio', 'bytes', others, timeout);
    }

    async #grows(type, counter, others, timeout) {
        let before;

        return until(`${this.name} gets ${type} of ${others.map(o => o.name).join(' and ')}`, async () => {
            const now = await this.stats();
            const grown = others.every(({ id }) => now.participants[id]?.[type]?.[counter]
                > (before?.participants[id]?.[type]?.[counter] ?? Infinity));

            before = now;

            return grown;
        }, { timeout, every: 400, state: () => this.stats() });
    }

    /** Waits until the videos of all of `others` are decoded at this height. */
    seesAt(height, others, timeout = 45000) {
        return until(`${this.name} gets ${height} lines of ${others.map(o => o.name).join(' and ')}`, async () => {
            const { participants } = await this.stats();

            return others.every(({ id }) => participants[id]?.video?.height === height);
        }, { timeout, every: 250, state: () => this.stats() });
    }

    close() {
        return this.context.close();
    }
}
