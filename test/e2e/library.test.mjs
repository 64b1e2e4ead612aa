// The library loads in a page and opens the fake camera at 720 lines: what every other test builds on.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Browser } from './harness/browser.mjs';

test('a page loads the library and opens camera and microphone', async t => {
    const browser = await Browser.launch('library');

    t.after(() => browser.close());
    const ann = await browser.participant('Ann');
    const tracks = await ann.devices({ height: 720 });

    assert.deepEqual(tracks.map(track => track.type).sort(), [ 'audio', 'video' ]);
    assert.equal(tracks.find(track => track.type === 'video').height, 720);
});
