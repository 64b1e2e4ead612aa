// What came out of a scenario: a plot, the figures as JSON, and which goals were met.

import { readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { chromium as playwright } from '../e2e/node_modules/playwright-core/index.mjs';
import { chromium } from '../e2e/harness/paths.mjs';
import { figures, series } from './figures.mjs';
import { plot } from './plot.mjs';
import { SCENARIOS } from './scenarios.mjs';

/** Writes NAME.png and NAME.json, prints the figures, and resolves to the number of goals that were missed. */
export async function report(scenario, run, out) {
    const s = series(scenario, run);
    const f = figures(scenario, run, s);
    const goals = scenario.goals.map(({ name, unit, want, is, met }) => {
        const value = is(f);

        return { name, unit, want, value, met: value !== null && value !== undefined && met(value) };
    });

    for (const [ name, value ] of Object.entries(f)) {
        console.log(`# figure ${scenario.name} ${name} ${value}`);
    }
    for (const { name, unit, want, value, met } of goals) {
        console.log(`${met ? 'PASS' : 'FAIL'} ${scenario.name}: ${name} ${value} ${unit} (${want})`);
    }
    const { title, seconds, down, up } = scenario;
    const goalsJSON = goals.map(g => ({ ...g, value: Number.isFinite(g.value) ? g.value : String(g.value) }));

    await writeFile(join(out, `${scenario.name}.json`), `${JSON.stringify({ title, seconds, down, up, goals: goalsJSON, figures: f }, null, 2)}\n`);
    await draw(plot(scenario, s, f, goals), join(out, `${scenario.name}.png`));

    return goals.filter(g => !g.met).length;
}

/** Puts what the JSON files beside it say between the two marks of DIR.md, if there is such a file. */
export async function summarise(dir) {
    const page = `${dir}.md`;
    const text = await readFile(page, 'utf8').catch(() => null);
    const [ head, , tail ] = text?.split(/<!-- (?:end of )?figures -->\n/) ?? [];

    if (!tail) {
        return;
    }
    const rows = [];

    for (const { name } of SCENARIOS) {
        const { title, goals, figures: f } = JSON.parse(await readFile(join(dir, `${name}.json`), 'utf8').catch(() => 'null')) ?? {};

        goals?.forEach((g, i) => rows.push(
            `| ${i ? '' : `[${title}](${basename(dir)}/${name}.png)`} | ${g.name} | ${g.want} ${g.unit} | ${g.value} ${g.unit} | ${g.met ? 'yes' : '**no**'} |`));
        f && rows.push(`| | *beside:* first picture after ${f.firstFrameMS} ms, 720 lines after ${f.first720MS ?? '–'} ms; use ${f.usePercent} %, media alone ${
            f.mediaPercent} %; longest freeze ${f.longestFreezeMS} ms; queue at most ${f.queueMaxMS} ms; audio made up ${f.audioConcealedPercent} %, sent every ${f.audioSentEveryMS} ms at most, arriving every ${f.audioArrivedEveryMS} ms | | | |`);
    }
    await writeFile(page, [ head, '<!-- figures -->\n| Network | Goal | | Measured | Met |\n|---|---|---|---|---|\n', rows.join('\n'), '\n<!-- end of figures -->\n', tail ].join(''));
}

/** Makes a picture of a drawing. */
async function draw({ svg, width, height }, file) {
    const browser = await playwright.launch({ executablePath: chromium, headless: true, args: [ '--no-sandbox', '--disable-gpu' ] });

    try {
        const page = await browser.newPage({ viewport: { width, height } });

        await page.setContent(`<!doctype html><body style="margin:0">${svg}</body>`);
        await page.screenshot({ path: file });
    } finally {
        await browser.close();
    }
}

if (process.argv[1] === import.meta.filename) {
    // node report.mjs SCENARIO RUN.json OUT: draws a saved run again.
    const [ , , name, file, out ] = process.argv;

    await report(SCENARIOS.find(s => s.name === name), JSON.parse(await readFile(file, 'utf8')), out);
}
