// The opening moves that most scenarios share: a server, a browser, some people in one room.

import { Browser } from './browser.mjs';
import { figure } from './figures.mjs';
import { Server } from './server.mjs';

/**
 * Starts a server and a browser for one test and stops both with it.
 *
 * @param {TestContext} t
 * @param {string} name - of the log files.
 * @param {object} options - for Server.start; options.bitrate and options.olm for Browser.launch.
 */
export async function stage(t, name, { bitrate, olm, ...options } = {}) {
    const server = await Server.start(name, options);

    last(t, () => server.stop());
    const browser = await Browser.launch(name, server, { bitrate, olm });

    last(t, () => browser.close());

    return { server, browser };
}

const endings = new WeakMap();

/**
 * Has `end` called when the test is over, after what was begun later has ended: clients go before their server.
 * (Node's own hooks run in the order in which they were added.)
 */
export function last(t, end) {
    const list = endings.get(t) ?? [];

    if (!list.length) {
        endings.set(t, list);
        t.after(async () => {
            const failed = [];

            for (const f of list.reverse()) {
                await Promise.resolve(f()).catch(e => failed.push(e));
            }
            if (failed.length) {
                throw new AggregateError(failed, failed.map(String).join('; '));
            }
        });
    }
    list.push(end);
}

/** Lets people into a room one after the other and prints how long each took. */
export async function gather(browser, room, names, options = {}) {
    const people = [];

    for (const name of names) {
        const person = await browser.participant(name);

        figure(`join-${name.toLowerCase()}-ms`, await person.join(room, options));
        people.push(person);
    }

    return people;
}

/** Waits until each sees and hears all the others. */
export function everybodySeesEverybody(people, timeout) {
    return Promise.all(people.map(p => p.seesAndHears(people.filter(other => other !== p), timeout)));
}
