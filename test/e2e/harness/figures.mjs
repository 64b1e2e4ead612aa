// Waiting for things to become true, and printing what was measured.

/** Prints one figure in the form that the closing note and CI collect: `# figure name value`. */
export function figure(name, value) {
    console.log(`# figure ${name} ${typeof value === 'number' ? Number(value.toFixed(3)) : value}`);
}

export const sleep = ms => new Promise(done => setTimeout(done, ms));

/** An error after which waiting longer is no use. */
export class Final extends Error {}

/** How many times slower a machine may be than those on which the limits were set. */
const patience = 3;

/**
 * How long a page takes to answer now, in ms: what is judged by the clock allows for it, as it says how busy the machine
 * is and nothing about the server.
 */
export async function slowness(people) {
    const began = Date.now();

    await Promise.all(people.map(p => p.stats()));

    return Date.now() - began;
}

/**
 * Polls `probe` until it returns something true and returns that. `what` is the sentence of the error; `state`,
 * if given, is called for the last state that the error shows. A probe that throws is asked again, unless it throws
 * a Final error.
 */
export async function until(what, probe, { timeout = 20000, every = 100, state } = {}) {
    const end = Date.now() + timeout * patience;
    let last;

    for (;;) {
        try {
            const value = await probe();

            if (value) {
                return value;
            }
            last = undefined;
        } catch (e) {
            if (e instanceof Final) {
                throw e;
            }
            last = e;
        }
        if (Date.now() > end) {
            const seen = state ? `; last seen: ${JSON.stringify(await state().catch(String))}` : '';

            throw new Error(`not within ${timeout * patience} ms: ${what}${seen}`, { cause: last });
        }
        await sleep(every);
    }
}

/** Asserts that `probe` stays true for `ms`. */
export async function stays(what, probe, ms, every = 100) {
    const end = Date.now() + ms;

    while (Date.now() < end) {
        if (!await probe()) {
            throw new Error(`did not stay true for ${ms} ms: ${what}`);
        }
        await sleep(every);
    }
}

export function median(values) {
    const sorted = [ ...values ].sort((a, b) => a - b);
    const middle = sorted.length >> 1;

    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
