// Configuration from config.js, with the few overrides that an address may carry
// after its #, for example #config.p2p.enabled=false&name="Ann"&join=true.

// What a link may change: nothing that decides whom we talk to.
const OVERRIDABLE = new Set([
    'p2p.enabled', 'p2p.iceTransportPolicy', 'forceTurnRelay', 'startWithAudioMuted', 'startWithVideoMuted',
    'channelLastN', 'resolution', 'disableSimulcast', 'bridgeChannel.preferSctp', 'openBridgeChannel',
    'flags.ssrcRewritingEnabled', 'testing.noAutoPlayVideo', 'startAudioMuted', 'startVideoMuted'
]);

function parse(value) {
    try {
        return JSON.parse(value);
    } catch {
        return value;
    }
}

/** Reads the fragment into { name, join, overrides }. */
export function readFragment(hash) {
    const out = { overrides: {} };
    for (const [ key, value ] of new URLSearchParams(hash.replace(/^#/, ''))) {
        if (key === 'name' || key === 'join') {
            out[key] = parse(value);
        } else if (key.startsWith('config.') && OVERRIDABLE.has(key.slice(7))) {
            out.overrides[key.slice(7)] = parse(value);
        }
    }
    return out;
}

/**
 * The server's configuration with the overrides put in. Peer-to-peer is off unless the address asks for it: in
 * today's browsers the library of December 2021 can't come back from it to the bridge when a third person joins. It
 * writes a source that returns into its description a second time, with every server.
 */
export function configuration(config, overrides) {
    const copy = structuredClone(config);
    copy.p2p = { ...copy.p2p, enabled: false };
    for (const [ path, value ] of Object.entries(overrides)) {
        const keys = path.split('.');
        const last = keys.pop();
        let at = copy;
        for (const k of keys) {
            at = at[k] ??= {};
        }
        at[last] = value;
    }
    return copy;
}

const store = {
    get(area, key) {
        try {
            return area().getItem(key);
        } catch {
            return null; // storage is off in some embedded frames
        }
    },
    set(area, key, value) {
        try {
            value === null ? area().removeItem(key) : area().setItem(key, value);
        } catch { /* not remembered */ }
    }
};

export const savedName = {
    get: () => store.get(() => localStorage, 'confab.name') ?? '',
    set: v => store.set(() => localStorage, 'confab.name', v)
};

/** What to come back with after a reload: { room, name, audio, video, tries }. */
export const comeback = {
    take() {
        const v = store.get(() => sessionStorage, 'confab.comeback');
        store.set(() => sessionStorage, 'confab.comeback', null);
        return v ? parse(v) : null;
    },
    leave: v => store.set(() => sessionStorage, 'confab.comeback', JSON.stringify(v))
};
