// With only relayed candidates allowed, media flows through our TURN server: over UDP, TCP and TLS on the HTTPS port, in
// a meeting on the bridge and peer-to-peer; and who loses the relay gets another.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { figure, until } from './harness/figures.mjs';
import { everybodySeesEverybody, gather, stage } from './harness/meeting.mjs';

/** The library uses TURN over UDP towards a bridge only when it is told so. `port` is where clients find the relay. */
const WAYS = {
    udp: { toml: '[turn]\ntcp = false\ntls = false', config: { useTurnUdp: true }, port: 'turn' },
    tcp: { toml: '[turn]\nudp = false\ntls = false', config: {}, port: 'turn' },
    tls: { toml: '[turn]\nudp = false\ntcp = false', config: {}, port: 'https' }
};

/**
 * Waits until media flows both ways on a path of each person, and asserts that it is relayed, over what, and that
 * nothing has come in by another way. `which` tells the path that is meant.
 */
async function relayed(people, way, which) {
    for (const person of people) {
        const path = await until(`${person.name}'s media flows through the relay`, async () => {
            const { paths } = await person.stats();

            return paths.find(p => p.state === 'connected' && which(p) && p.sent > 20000
                && Object.values(p.carried).reduce((a, b) => a + b, 0) > 20000);
        }, { timeout: 45000, state: () => person.stats() });

        assert.equal(path.local, 'relay');
        assert.equal(path.relay, way);
        assert.deepEqual(Object.keys(path.carried), [ `relay ${way}` ]);
        figure(`relay-${way}-${person.name.toLowerCase()}`,
            `to a ${path.remote} candidate, ${path.carried[`relay ${way}`]} bytes in, ${path.sent} out`);
    }
}

for (const [ way, { toml, config, port } ] of Object.entries(WAYS)) {
    test(`iceTransportPolicy relay over ${way}`, { timeout: 540000 }, async t => {
        const { server, browser } = await stage(t, `relay-${way}`, { toml });

        await t.test('in a meeting on the bridge', async () => {
            const people = await gather(browser, 'bridge', [ 'Ann', 'Bob' ], { relay: true, config });

            await everybodySeesEverybody(people);
            await relayed(people, way, p => p.port === server.ports.media);
            const allocations = await server.allocations();

            assert.ok(allocations.length >= people.length, `${allocations.length} allocations`);
            for (const a of allocations) {
                assert.equal(a.transport, way);
                assert.equal(Number(a.server.split(':').pop()), server.ports[port]);
            }
            await Promise.all(people.map(p => p.leave().then(() => p.close())));
        });
        await t.test('peer-to-peer', async () => {
            const people = await gather(browser, 'p2p', [ 'Cem', 'Dan' ], { relay: true, p2p: true, config });

            await Promise.all(people.map(p => until(`${p.name} is peer-to-peer`, async () => (await p.stats()).p2p,
                { timeout: 45000, state: async () => (await p.events()).slice(-10) })));
            await everybodySeesEverybody(people);
            await relayed(people, way, p => p.port !== server.ports.media);
        });
    });
}

test('one of three, who has nothing but the relay, loses it', { timeout: 720000 }, async t => {
    const { server, browser } = await stage(t, 'relay-lost');
    const [ ann, bob ] = await gather(browser, 'lost', [ 'Ann', 'Bob' ]);
    const [ cem ] = await gather(browser, 'lost', [ 'Cem' ], { relay: true, config: { useTurnUdp: true } });

    await everybodySeesEverybody([ ann, bob, cem ]);
    const before = await server.allocations(); // those of Ann and Bob are of no use to them
    const last = Math.max(...before.map(a => a.number));
    const lost = Date.now();

    // To the client it is as if the relay had been started again: it knows nothing of it any more.
    await Promise.all(before.map(a => server.endAllocation(a)));
    const after = await until('Cem is relayed anew', async () => {
        const now = await server.allocations();

        return now.some(a => a.number > last && a.packets_from_peers > 100) && now;
    }, { timeout: 90000, every: 250, state: async () => [ await server.allocations(), (await cem.events()).slice(-10) ] });

    figure('relay-lost-and-found-ms', Date.now() - lost);
    assert.ok(after.every(a => a.number > last), 'what was ended is gone');
    await everybodySeesEverybody([ ann, bob, cem ], 60000);
    assert.equal((await cem.events()).filter(e => e.name === 'joined').length, 1, 'Cem stayed in the room');
    for (const person of [ ann, bob ]) {
        const events = await person.events();

        assert.equal(events.some(e => e.name === 'user left'), false, `${person.name} saw somebody leave`);
        assert.equal(events.some(e => e.name === 'peerconnection' && e.state === 'failed'), false, `${person.name} lost the bridge`);
    }
});

test('the server starts again while both of two are relayed', { timeout: 540000 }, async t => {
    const { server, browser } = await stage(t, 'relay-restart', { toml: '[turn]\nudp = false\ntcp = false' });
    const people = await gather(browser, 'restart', [ 'Ann', 'Bob' ], { relay: true, rejoin: true });

    await everybodySeesEverybody(people);
    await server.kill();
    await server.run();
    const back = Date.now();

    for (const person of people) {
        await person.noticedSince('joined', back, 60000);
        person.id = (await person.event('joined')).id;
    }
    await everybodySeesEverybody(people, 60000);
    await relayed(people, 'tls', p => p.port === server.ports.media);
    figure('relayed-again-after-restart-ms', Date.now() - back);
});
