// Draws a run as SVG: rates, layers with freezes, queueing delay and audio, over the same time.

const WIDTH = 1200;
const LEFT = 78;
const RIGHT = 24;
const TOP = 108;
const GAP = 46;
const FONT = 'font-family="DejaVu Sans, sans-serif"';

const INK = '#1f2933';
const FAINT = '#7b8794';
const COLOURS = {
    link: '#d9e2ec', edge: '#829ab1', offered: '#d64545', media: '#2f7d4f', estimate: '#2563eb', height: '#2f7d4f', target: '#2563eb',
    fps: '#b7791f', queue: '#7c3aed', drop: '#d64545', freeze: '#f8b4b4', concealed: '#b7791f'
};

/** Returns {svg, width, height}. */
export function plot(scenario, s, f, goals) {
    const end = scenario.seconds * 1000;
    const x = at => LEFT + (WIDTH - LEFT - RIGHT) * at / end;
    const parts = [];
    let y = TOP;

    const panel = (height, label, max, ticks, draw, legend) => {
        const scale = v => y + height - height * Math.min(v, max) / max;

        parts.push(`<rect x="${LEFT}" y="${y}" width="${WIDTH - LEFT - RIGHT}" height="${height}" fill="#fff" stroke="#cbd2d9"/>`);
        draw(scale, height);
        for (const t of ticks) {
            parts.push(`<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${scale(t)}" y2="${scale(t)}" stroke="#000" stroke-opacity=".08"/>`,
                text(LEFT - 8, scale(t) + 4, t, { anchor: 'end', size: 12 }));
        }
        for (let at = 0; at <= end; at += 5000) {
            parts.push(`<line x1="${x(at)}" x2="${x(at)}" y1="${y}" y2="${y + height}" stroke="#000" stroke-opacity=".06"/>`,
                text(x(at), y + height + 15, at / 1000, { anchor: 'middle', size: 12 }));
        }
        parts.push(text(LEFT, y - 8, label, { size: 13, weight: 'bold' }));
        let at = WIDTH - RIGHT;

        for (const [ name, colour, dash ] of legend.toReversed()) {
            at -= name.length * 7.2 + 34;
            parts.push(`<line x1="${at}" x2="${at + 22}" y1="${y - 12}" y2="${y - 12}" stroke="${colour}" stroke-width="${dash === 'area' ? 10 : 2.5}"${
                dash && dash !== 'area' ? ` stroke-dasharray="${dash}"` : ''}/>`, text(at + 27, y - 8, name, { size: 12 }));
        }
        y += height + GAP;
    };
    const line = (values, scale, colour, { dash = '', width = 1.8, step = false } = {}) => {
        let d = '';
        let pen = false;

        values.forEach((v, i) => {
            if (v === null || v === undefined) {
                return;
            }
            const px = x(s.at[i]).toFixed(1);
            const py = scale(v).toFixed(1);

            d += pen ? step ? `H${px}V${py}` : `L${px},${py}` : `M${px},${py}`;
            pen = true;
        });
        parts.push(`<path d="${d}" fill="none" stroke="${colour}" stroke-width="${width}" stroke-linejoin="round"${dash && ` stroke-dasharray="${dash}"`}/>`);
    };

    const known = v => v !== null;
    const fastest = Math.max(...s.link.filter(known));
    const maxRate = nice(Math.min(Math.max(fastest, ...smooth(s.offered), ...s.estimate.filter(known)), fastest * 1.8) * 1.05);

    panel(260, 'Rate, kbit/s', maxRate, ticks(maxRate), scale => {
        let d = `M${x(0)},${scale(0)}`;

        s.link.forEach((v, i) => {
            d += `L${x(s.at[i]).toFixed(1)},${scale(v ?? maxRate).toFixed(1)}`;
        });
        parts.push(`<path d="${d}H${x(end)}V${scale(0)}Z" fill="${COLOURS.link}"/>`);
        line(s.link, scale, COLOURS.edge, { step: true, width: 1.2 });
        line(smooth(s.offered), scale, COLOURS.offered);
        line(smooth(s.media), scale, COLOURS.media);
        line(s.estimate, scale, COLOURS.estimate, { width: 2.2 });
    }, [
        [ 'link', COLOURS.edge, 'area' ], [ 'sent by the bridge', COLOURS.offered ], [ 'media that arrived', COLOURS.media ],
        ...s.estimate.some(known) ? [ [ 'estimate', COLOURS.estimate ] ] : []
    ]);
    panel(150, 'Layer, lines; frames per second', 760, [ 180, 360, 720 ], (scale, height) => {
        freezes(s).forEach(([ from, to ]) => parts.push(
            `<rect x="${x(from)}" y="${y}" width="${Math.max(2, x(to) - x(from))}" height="${height}" fill="${COLOURS.freeze}"/>`));
        line(s.fps.map(v => v === null ? null : v * 6), scale, COLOURS.fps, { width: 1.2 });
        line(s.target, scale, COLOURS.target, { step: true, dash: '5 3' });
        line(s.height, scale, COLOURS.height, { step: true, width: 2.4 });
        for (const fps of [ 15, 30 ]) {
            parts.push(text(WIDTH - RIGHT + 3, scale(fps * 6) + 4, fps, { size: 10, colour: COLOURS.fps }));
        }
    }, [
        [ 'decoded', COLOURS.height ], ...s.target.some(known) ? [ [ 'chosen by the bridge', COLOURS.target, '5 3' ] ] : [],
        [ 'frames/s', COLOURS.fps ], [ 'no frame for 0.5 s', COLOURS.freeze, 'area' ]
    ]);
    const maxQueue = nice(Math.max(200, ...s.queue));

    panel(150, 'Queueing delay, ms', maxQueue, ticks(maxQueue), (scale, height) => {
        s.dropped.forEach((n, i) => n && parts.push(`<rect x="${x(s.at[i])}" y="${y}" width="3" height="${Math.min(height, 4 + n)}" fill="${COLOURS.drop}"/>`));
        parts.push(`<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${scale(150)}" y2="${scale(150)}" stroke="${FAINT}" stroke-dasharray="3 3"/>`);
        line(s.queue, scale, COLOURS.queue);
    }, [ [ 'longest of each 0.2 s', COLOURS.queue ], [ 'dropped by the full queue', COLOURS.drop, 'area' ], [ 'goal', FAINT, '3 3' ] ]);
    panel(70, 'Audio made up by the receiver, %', 100, [ 0, 50, 100 ], scale => line(s.concealed, scale, COLOURS.concealed),
        [ [ 'concealed', COLOURS.concealed ] ]);

    parts.push(text(LEFT, 30, scenario.title, { size: 21, weight: 'bold' }));
    let at = LEFT;
    let row = 54;

    for (const { name, unit, value, met } of goals) {
        const label = `${met ? '✔' : '✘'} ${name}: ${Number.isFinite(value) ? value : 'never'}${unit ? ` ${unit}` : ''}`;

        if (at + label.length * 7.4 > WIDTH - RIGHT) {
            at = LEFT;
            row += 20;
        }
        parts.push(text(at, row, label, { size: 12.5, colour: met ? '#2f7d4f' : '#b91c1c' }));
        at += label.length * 7.4 + 22;
    }
    const height = y + 4;

    parts.push(text(WIDTH - RIGHT, height - 8, 'seconds since joining', { anchor: 'end', size: 12 }));

    return {
        svg: `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" ${FONT}><rect width="100%" height="100%" fill="#f8fafb"/>${parts.join('')}</svg>`,
        width: WIDTH, height
    };
}

function text(x, y, words, { anchor = 'start', size = 13, weight = 'normal', colour = INK } = {}) {
    return `<text x="${x}" y="${y}" text-anchor="${anchor}" font-size="${size}" font-weight="${weight}" fill="${colour}">${
        String(words).replace(/&/g, '&amp;').replace(/</g, '&lt;')}</text>`;
}

/** The next round number. */
function nice(v) {
    const unit = 10 ** Math.floor(Math.log10(v));

    return [ 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10 ].map(n => n * unit).find(n => n >= v);
}

const ticks = max => [ 0, 0.25, 0.5, 0.75, 1 ].map(n => Math.round(n * max));

/** A point of a rate is of the bins around it, too: single key frames are not what matters. */
const smooth = values => values.map((_, i) => {
    const near = values.slice(Math.max(0, i - 1), i + 2);

    return near.reduce((a, b) => a + b, 0) / near.length;
});

/** [from, to] of times without a frame, after the first one. */
function freezes(s) {
    const out = [];
    const first = s.fps.findIndex(v => v > 0);

    s.fps.forEach((v, i) => {
        if (i > first && first >= 0 && v === 0) {
            const before = out.at(-1);

            if (before && s.at[i] - before[1] <= 400) {
                before[1] = s.at[i];
            } else {
                out.push([ s.at[i] - 500, s.at[i] ]);
            }
        }
    });

    return out;
}
