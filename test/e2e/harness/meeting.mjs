// The opening moves that most scenarios share: a server, a browser, some people in one room.

import { Browser } from './browser.mjs';
import { figure } from './figures.mjs';
import { Server } from './server.mjs';

/**
 * Starts a server and a browser for one test and stops both with it.
 *
 * @param {TestContext} t
 * @param {string} name - of the log files.
 * @param {object} options - for Server.start; options.bitrate for Browser.launch.
 */
export async function stage(t, name, { bitrate, ...options } = {}) {
    const server = await Server.start(name, options);

    t.after(() => server.stop());
    const browser = await Browser.launch(name, server, { bitrate });

    t.after(() => browser.close());

    return { server, browser };
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
