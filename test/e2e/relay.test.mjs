// With only relayed candidates allowed, media flows through our TURN server: over TCP, as the library asks for by
// default, and over UDP.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { figure, until } from './harness/figures.mjs';
import { everybodySeesEverybody, gather, stage } from './harness/meeting.mjs';

const WAYS = {
    TCP: { toml: '[turn]\nudp = false', relays: [ 'tcp', 'tls' ], config: {} },
    UDP: { toml: '[turn]\ntcp = false\ntls = false', relays: [ 'udp' ], config: { useTurnUdp: true } }
};

for (const [ way, { toml, relays, config } ] of Object.entries(WAYS)) {
    test(`iceTransportPolicy relay over ${way}`, { timeout: 120000 }, async t => {
        const { server, browser } = await stage(t, `relay-${way.toLowerCase()}`, { toml });
        const people = await gather(browser, 'relay', [ 'Ann', 'Bob' ], { relay: true, config });

        await everybodySeesEverybody(people);
        for (const person of people) {
            const path = await until(`${person.name}'s media flows through the relay`, async () => {
                const { paths } = await person.stats();
                const connected = paths.find(p => p.state === 'connected');

                return connected?.received > 20000 && connected.sent > 20000 && connected;
            }, { state: () => person.stats() });

            assert.equal(path.local, 'relay');
            assert.equal(path.port, server.ports.media);
            assert.ok(relays.includes(path.relay), `relayed over ${path.relay}`);
            figure(`relay-${person.name.toLowerCase()}`, `${path.relay} ${path.received} bytes in, ${path.sent} out`);
        }
    });
}
