// From what was seen to series over time and single figures.

/** ms of a point of the series. */
export const BIN = 200;

const percentile = (values, p) => {
    const sorted = values.filter(v => v !== null).sort((a, b) => a - b);

    return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] : null;
};
const mean = values => values.length ? values.reduce((a, b) => a + b, 0) / values.length : null;
const round = (v, digits = 0) => v === null || v === undefined ? null : Number(v.toFixed(digits));

/** The rate of the link at a moment, kbit/s. */
export function rateAt({ rates }, at) {
    return rates ? rates.findLast(([ from ], i) => i === 0 || from <= at)[1] : null;
}

/** Everything that a plot shows, by bins of BIN ms. */
export function series(scenario, run) {
    const bins = Math.ceil(scenario.seconds * 1000 / BIN);
    const empty = v => new Array(bins).fill(v);
    const last = run.receiver.at(-1);
    const ssrcs = kind => new Set(last?.[kind].map(s => s.ssrc));
    const audio = ssrcs('audio');
    const video = ssrcs('video');
    const s = {
        at: empty(0).map((_, i) => i * BIN),
        link: empty(0).map((_, i) => rateAt(scenario.down, i * BIN)),
        offered: empty(0), delivered: empty(0), media: empty(0), repair: empty(0), // kbit/s
        queue: empty(0), dropped: empty(0), lost: empty(0), // ms, packets
        height: empty(null), fps: empty(null), concealed: empty(null),
        estimate: empty(null), target: empty(null), padding: empty(null)
    };

    for (const p of run.packets) {
        const i = Math.floor(p.at / BIN);

        if (p.way !== 'down' || i < 0 || i >= bins) {
            continue;
        }
        const rate = p.size * 8 / BIN;

        s.offered[i] += rate;
        s.queue[i] = Math.max(s.queue[i], p.queued);
        if (p.dropped) {
            s[p.dropped === 'queue' ? 'dropped' : 'lost'][i]++;
            continue;
        }
        s.delivered[i] += rate;
        if (p.kind === 'rtp') {
            s[audio.has(p.ssrc) || video.has(p.ssrc) ? 'media' : 'repair'][i] += rate;
        }
    }
    const seen = run.receiver.map(sample => ({ at: sample.at, ...totals(sample) }));
    let half = 0; // the last sample at least half a second before

    seen.forEach((now, n) => {
        const i = Math.floor(now.at / BIN);

        while (half + 1 < n && seen[half + 1].at <= now.at - 500) {
            half++;
        }
        if (n === 0 || i < 0 || i >= bins) {
            return;
        }
        s.height[i] = now.height ?? s.height[i];
        s.fps[i] = (now.frames - seen[half].frames) * 1000 / (now.at - seen[half].at);
        const samples = now.samples - seen[n - 1].samples;

        if (samples > 0) {
            s.concealed[i] = Math.max(s.concealed[i], (now.concealed - seen[n - 1].concealed) / samples * 100);
        }
    });
    for (const { at, debug } of run.bridge) {
        const i = Math.floor(at / BIN);
        const view = bridgeView(debug, run);

        if (view && i >= 0 && i < bins) {
            s.estimate[i] = view.estimate;
            s.target[i] = view.target;
            s.padding[i] = view.padding;
        }
    }

    return s;
}

/** The stage's video and all audio in one sample of the receiver. */
function totals(sample) {
    const stage = sample.video.reduce((a, b) => (b.framesDecoded ?? 0) > (a?.framesDecoded ?? -1) ? b : a, undefined);
    const sum = name => sample.audio.reduce((n, s) => n + (s[name] ?? 0), 0);

    return {
        frames: stage?.framesDecoded ?? 0, height: stage?.frameHeight,
        samples: sum('totalSamplesReceived'), concealed: sum('concealedSamples'), stage
    };
}

/**
 * What the bridge says about our receiver: kbit/s that it believes in, for audio too, and the height that it means to
 * forward of the stage, 0 for none.
 */
function bridgeView(debug, { endpoint, stage }) {
    const all = debug.flatMap(c => c.Endpoints);
    const receiver = all.find(e => e.ID === endpoint);
    const source = `${stage}-v0`;

    if (!receiver?.Network) {
        return undefined;
    }
    const { Estimate: estimate, Audio: audio, Padding: padding } = receiver.Network;
    const target = receiver.Receives?.find(r => r.Source === source)?.Target;
    const layers = all.find(e => e.ID === stage)?.Sources?.find(r => r.Name === source)?.Layers;

    return {
        estimate: estimate ? (estimate + audio) / 1000 : null,
        padding: padding / 1000,
        target: target === 'none' ? 0 : layers?.find(l => l.ID === target)?.Height ?? null
    };
}

/** Single figures, from the whole run and from the time after the beginning. */
export function figures(scenario, run, s) {
    const end = scenario.seconds * 1000;
    const steady = s.at.map((at, i) => at >= scenario.settle && at < end - BIN ? i : -1).filter(i => i >= 0);
    const pick = name => steady.map(i => s[name][i]);
    const capacity = mean(pick('link'));
    const share = name => round(mean(pick(name)) / capacity * 100, 1);
    const of = name => {
        const known = pick(name).filter(v => v !== null);

        return known.length ? round(mean(known) / capacity * 100, 1) : null;
    };
    const last = totals(run.receiver.at(-1));
    const video = run.receiver.map(r => ({ at: r.at, ...totals(r) }));
    const framesAt = at => video.findLast(v => v.at <= at)?.frames ?? 0;
    const first = video.find(v => v.frames > 0);
    const top = Math.max(...s.height.map(h => h ?? 0));
    const down = run.packets.filter(p => p.way === 'down' && p.at >= 0 && p.at < end);
    const out = {
        firstFrameMS: round(first?.at),
        first720MS: round(video.find(v => v.height === 720)?.at),
        usePercent: share('delivered'),
        mediaPercent: share('media'),
        estimatePercent: of('estimate'),
        paddingPercent: of('padding'),
        queueP95MS: round(percentile(pick('queue'), 0.95)),
        queueMaxMS: round(Math.max(...pick('queue'))),
        droppedAtQueue: down.filter(p => p.dropped === 'queue').length,
        lostAtRandom: down.filter(p => p.dropped === 'loss').length,
        sentPackets: down.length,
        longestFreezeMS: round(longestStall(video)),
        chromiumFreezes: last.stage?.freezeCount ?? null,
        chromiumFrozenMS: round((last.stage?.totalFreezesDuration ?? 0) * 1000),
        timeAtTopPercent: round(pick('height').filter(h => h === 720).length / steady.length * 100, 1),
        topHeight: top,
        layerChanges: changes(pick('height')),
        framesPerSecond: round(mean(pick('fps').filter(v => v !== null)), 1),
        ...audioFigures(run.receiver),
        ...spacing(down, new Set(run.receiver.at(-1)?.audio.map(a => a.ssrc)), scenario.settle)
    };

    if (scenario.drop) {
        const { at, back } = scenario.drop;
        const before = heightAt(video, at - 1);

        out.heightBefore = before;
        out.downSwitchMS = belowLinkAfter(down, at, rateAt(scenario.down, at + 1), back);
        // The height alone says nothing while nothing is decoded.
        out.upSwitchMS = round((video.find(v => v.at >= back && v.height >= before && v.frames >= framesAt(v.at - 500) + 5)?.at ?? Infinity) - back);
        out.queueAfterDropMaxMS = round(Math.max(...down.filter(p => p.at >= at && p.at < back).map(p => p.queued)));
    }

    return out;
}

/** The longest time between two packets of audio as they enter the link, and as they leave it. */
function spacing(down, ssrcs, from) {
    const sound = down.filter(p => p.kind === 'rtp' && ssrcs.has(p.ssrc) && p.at >= from);
    const longest = times => round(times.reduce((most, at, i) => i ? Math.max(most, at - times[i - 1]) : 0, 0));

    return {
        audioSentEveryMS: longest(sound.map(p => p.at)),
        audioArrivedEveryMS: longest(sound.filter(p => !p.dropped).map(p => p.at + p.transit).sort((a, b) => a - b))
    };
}

const heightAt = (video, at) => video.findLast(v => v.at <= at && v.height)?.height ?? null;

const changes = values => values.filter((v, i) => i > 0 && v !== values[i - 1] && v !== null && values[i - 1] !== null).length;

/** The longest time without a decoded frame, from the first one on. */
function longestStall(video) {
    let since;
    let frames = 0;
    let longest = 0;

    for (const v of video) {
        if (v.frames > frames) {
            frames = v.frames;
            since = v.at;
        } else if (since !== undefined) {
            longest = Math.max(longest, v.at - since);
        }
    }

    return longest;
}

/** ms after a drop until the bridge sends for half a second no more than the link carries (and a tenth). */
function belowLinkAfter(down, at, rate, back) {
    const WINDOW = 500;

    for (let t = at; t < back - WINDOW; t += 20) {
        const bits = down.reduce((sum, p) => p.at >= t && p.at < t + WINDOW ? sum + p.size * 8 : sum, 0);

        if (bits / WINDOW <= rate * 1.1) {
            return t - at;
        }
    }

    return Infinity;
}

/**
 * Interruptions of the audio, whose senders are never silent: time in which most of what was played was made up by the
 * receiver, because nothing had arrived in time.
 */
function audioFigures(samples) {
    let run = 0;
    let longest = 0;
    let before;

    for (const sample of samples) {
        const now = totals(sample);

        if (!now.samples) {
            continue;
        }
        if (before && now.samples > before.samples) {
            const made = (now.concealed - before.concealed) / (now.samples - before.samples);

            run = made > 0.5 ? run + sample.at - before.at : 0;
            longest = Math.max(longest, run);
        }
        before = { at: sample.at, ...now };
    }
    const last = samples.at(-1) && totals(samples.at(-1));

    return {
        audioGapMS: before ? round(longest) : null,
        audioConcealedPercent: last?.samples ? round(last.concealed / last.samples * 100, 2) : null
    };
}
