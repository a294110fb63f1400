// A panel's or a mark's queries in, data frames as Grafana's Prometheus data source makes them out.
import { FieldType, toDataFrame } from '@grafana/data';

const POINTS = 180;
const SCRAPE_SECONDS = Number(new URLSearchParams(location.search).get('scrape') ?? 15);

const seconds = (text) => Number.parseInt(text, 10) * { s: 1, m: 60, h: 3600 }[text.at(-1)];

// Gives the seconds between points: what the range allows, and no less than the panel's own interval.
function stepOf({ from, to }, interval = '0s') {
  const room = Math.ceil((to - from) / POINTS / SCRAPE_SECONDS) * SCRAPE_SECONDS;
  return Math.max(SCRAPE_SECONDS, room, seconds(interval));
}

// Fills in the variables that Grafana would.
function filled(text, range, variables, interval) {
  const step = stepOf(range, interval);
  const builtin = {
    __rate_interval: `${Math.max(4 * SCRAPE_SECONDS, step + SCRAPE_SECONDS)}s`,
    __interval: `${step}s`,
    __range: `${range.to - range.from}s`,
  };
  return text.replaceAll(/\$(\w+)/g, (whole, name) => builtin[name] ?? variables[name] ?? whole);
}

async function ask(path, parameters) {
  const answer = await (await fetch(`/api/v1/${path}?${new URLSearchParams(parameters)}`)).json();
  if (answer.status !== 'success') {
    throw new Error(`${parameters.query}: ${answer.error}`);
  }
  return answer.data.result;
}

const named = (legend, labels) => (legend ?? '').replaceAll(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? '');

export async function answers(panel, range, variables) {
  const frames = await Promise.all(panel.targets.map((target) => (panel.type === 'table' ? table : target.instant ? instant : curve)(target)));
  return frames.flat();

  async function curve({ expr, legendFormat, refId }) {
    const step = stepOf(range, panel.interval);
    const found = await ask('query_range', { query: filled(expr, range, variables, panel.interval), start: range.from, end: range.to, step });
    return found.map(({ metric, values }) => frame(refId, legendFormat, metric, gapless(values, range, step), step));
  }

  async function instant({ expr, legendFormat, refId }) {
    const found = await ask('query', { query: filled(expr, range, variables), time: range.to });
    return found.map(({ metric, value }) => frame(refId, legendFormat, metric, [value]));
  }

  // One frame with a column for each label, as the format "table" gives.
  async function table({ expr, refId }) {
    const found = await ask('query', { query: filled(expr, range, variables), time: range.to });
    const labels = [...new Set(found.flatMap(({ metric }) => Object.keys(metric)))].sort();
    const value = panel.targets.length > 1 ? `Value #${refId}` : 'Value';
    return toDataFrame({
      refId,
      fields: [
        { name: 'Time', type: FieldType.time, values: found.map(({ value: [at] }) => at * 1000) },
        ...labels.map((name) => ({ name, type: FieldType.string, values: found.map(({ metric }) => metric[name]) })),
        { name: value, type: FieldType.number, values: found.map(({ value: [, text] }) => Number(text)) },
      ],
    });
  }
}

// Gives a sample for each step, null where there is none: a curve must not bridge a gap.
function gapless(samples, { from, to }, step) {
  const values = new Map(samples.map(([at, text]) => [at, Number(text)]));
  const count = Math.floor((to - from) / step) + 1;
  return Array.from({ length: count }, (_, index) => from + index * step).map((at) => [at, values.get(at) ?? null]);
}

function frame(refId, legend, labels, samples, step) {
  return toDataFrame({
    refId,
    fields: [
      { name: 'Time', type: FieldType.time, config: { interval: step && step * 1000 }, values: samples.map(([at]) => at * 1000) },
      { name: 'Value', type: FieldType.number, labels, config: { displayNameFromDS: named(legend, labels) || undefined }, values: samples.map(([, value]) => (value === null ? null : Number(value))) },
    ],
  });
}

// Gives { time, colour } for each event; samples closer than two steps are one, as Grafana groups them.
export async function marks(mark, range, variables) {
  const step = stepOf(range);
  const found = await ask('query_range', { query: filled(mark.expr, range, variables), start: range.from, end: range.to, step });
  return found.flatMap(({ values }) => {
    const times = values.map(([at, text]) => (mark.useValueForTime ? Number(text) : at * 1000)).sort((a, b) => a - b);
    return times
      .filter((at, index) => !index || at - times[index - 1] > 2 * step * 1000 || (mark.useValueForTime && at !== times[index - 1]))
      .filter((at) => at >= range.from * 1000)
      .map((time) => ({ time, colour: mark.iconColor }));
  });
}
