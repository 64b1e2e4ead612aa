// With only relayed candidates allowed, media flows through our TURN server.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { figure } from './harness/figures.mjs';
import { everybodySeesEverybody, gather, stage } from './harness/meeting.mjs';

test('iceTransportPolicy relay', { timeout: 120000 }, async t => {
    const { server, browser } = await stage(t, 'relay');
    const people = await gather(browser, 'relay', [ 'Ann', 'Bob' ], { relay: true });

    await everybodySeesEverybody(people);
    for (const person of people) {
        const { paths } = await person.stats();
        const path = paths.find(p => p.state === 'connected');

        assert.equal(path.local, 'relay');
        assert.equal(path.port, server.ports.media);
        assert.ok(path.received > 20000 && path.sent > 20000, `bytes through the relay: ${JSON.stringify(path)}`);
        figure(`relay-${person.name.toLowerCase()}`, `${path.relay} ${path.received} bytes in, ${path.sent} out`);
    }
});
