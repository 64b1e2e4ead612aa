// Redundant audio (RFC 2198): who can and wants it gets it, who doesn't gets plain Opus out of the same packets.

import { test } from 'node:test';

import { until } from './harness/figures.mjs';
import { gather, stage } from './harness/meeting.mjs';
import { generation } from './harness/paths.mjs';

test('redundant audio', { timeout: 360000, skip: generation() === 2021 && 'the 2021 library does not say that it can' }, async t => {
    const { browser } = await stage(t, 'red', { toml: '[focus]\nopus_red = true\n' });
    const quiet = { video: false };
    const [ ann, bob ] = await gather(browser, 'red', [ 'Ann', 'Bob' ], { ...quiet, config: { enableOpusRed: true } });
    const [ cem ] = await gather(browser, 'red', [ 'Cem' ], quiet);

    await Promise.all([ ann.hears([ bob, cem ]), bob.hears([ ann, cem ]), cem.hears([ ann, bob ]) ]);

    // Browsers name the codec inside only; each packet of redundant audio has another frame in it.
    const size = async (who, of) => {
        const { bytes, packets } = (await who.stats()).participants[of.id].audio;

        return bytes / packets;
    };

    await until('Ann gets each frame of Bob twice, Cem once, both that of Cem once', async () => {
        const [ double, plain ] = await Promise.all([ size(ann, bob), size(cem, bob) ]);
        const [ single, ...rest ] = await Promise.all([ size(bob, cem), size(ann, cem) ]);

        return double > 1.5 * plain && rest.every(s => s < 1.5 * single) && double > 1.5 * single;
    }, { every: 500, state: async () => [ await size(ann, bob), await size(cem, bob), await size(ann, cem), await size(bob, cem) ] });

    const energy = async () => (await cem.stats()).participants[bob.id].audio.energy;
    const before = await energy();

    await until('Cem decodes what Bob says', async () => await energy() > before);
});
