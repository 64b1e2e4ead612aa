// The networks between the bridge and the receiver, and what must come out.
//
// Rates are [[ms, kbit/s], …] of whole IP packets. Time 0 is the receiver's click on "join". `down` is towards the
// receiver, `up` from it; what they can say is in link/link.go. Goals are functions of the figures (figures.mjs).

/** How long the first seconds are: joining, the first key frame, the estimate finding the link. */
const SETTLE = 12000;

const QUEUE = { name: 'queueing delay, 95th percentile', unit: 'ms', want: '< 150', is: f => f.queueP95MS, met: v => v < 150 };
const USE = { name: 'use of the link', unit: '%', want: '≥ 85', is: f => f.usePercent, met: v => v >= 85 };
const AUDIO = { name: 'longest interruption of the audio', unit: 'ms', want: '< 200', is: f => f.audioGapMS, met: v => v < 200 };
const FREEZE = { name: 'longest freeze', unit: 'ms', want: '≤ 1000', is: f => f.longestFreezeMS, met: v => v <= 1000 };

export const SCENARIOS = [
    {
        name: 'steady-500',
        title: 'Steady 500 kbit/s',
        seconds: 45,
        settle: SETTLE,
        down: { rates: [ [ 0, 500 ] ], delayMS: 20, queueMS: 500 },
        up: { delayMS: 20 },
        goals: [ USE, QUEUE, FREEZE, AUDIO ]
    },
    {
        name: 'far-2000',
        title: '2 Mbit/s with a round trip of 200 ms',
        seconds: 45,
        settle: SETTLE,
        down: { rates: [ [ 0, 2000 ] ], delayMS: 100, queueMS: 500 },
        up: { rates: [ [ 0, 2000 ] ], delayMS: 100 },
        goals: [ USE, QUEUE, FREEZE, AUDIO ]
    },
    {
        name: 'loss-5',
        title: '5 Mbit/s with 5 % random loss',
        seconds: 45,
        settle: SETTLE,
        down: { rates: [ [ 0, 5000 ] ], delayMS: 20, queueMS: 500, loss: 0.05, seed: 1 },
        up: { delayMS: 20 },
        goals: [ QUEUE, FREEZE, AUDIO, TOP() ]
    },
    {
        name: 'jitter-300',
        title: '5 Mbit/s with bursts of 300 ms jitter',
        seconds: 50,
        settle: SETTLE,
        // For half a second in every five, each packet comes up to 300 ms late.
        down: { rates: [ [ 0, 5000 ] ], delayMS: 20, queueMS: 500, seed: 1, jitter: { firstMS: 10000, everyMS: 5000, lengthMS: 500, maxMS: 300 } },
        up: { delayMS: 20 },
        goals: [ QUEUE, FREEZE, AUDIO, TOP() ]
    },
    {
        name: 'drop-300',
        title: 'From 5 Mbit/s to 300 kbit/s and back',
        seconds: 70,
        settle: SETTLE,
        drop: { at: 20000, back: 45000 },
        down: { rates: [ [ 0, 5000 ], [ 20000, 300 ], [ 45000, 5000 ] ], delayMS: 20, queueMS: 1000 },
        up: { delayMS: 20 },
        goals: [
            { name: 'sends less than the link after', unit: 'ms', want: '< 1000', is: f => f.downSwitchMS, met: v => v < 1000 },
            { name: 'old layer again after', unit: 'ms', want: '< 10000', is: f => f.upSwitchMS, met: v => v < 10000 },
            QUEUE, FREEZE, AUDIO
        ]
    }
];

/** The sender's best layer for nearly all of the time. */
function TOP() {
    return { name: 'time at 720 lines', unit: '%', want: '≥ 90', is: f => f.timeAtTopPercent, met: v => v >= 90 };
}
