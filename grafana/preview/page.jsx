// One dashboard as Grafana would show it: its JSON and a live Prometheus in, Grafana's own components out.
//
// The address says what to draw: ?dashboard=training-run&folder=dashboards&from=…&to=…&width=1400&var-run=…, times in Unix seconds.
import 'uplot/dist/uPlot.min.css';
import '@grafana/react-data-grid/lib/styles.css';
import { createRoot } from 'react-dom/client';
import { GlobalStyles, PanelChrome, ThemeContext } from '@grafana/ui';
import { createTheme, dateTime } from '@grafana/data';

import { answers, marks } from './prometheus.js';
import { Content } from './panels.jsx';

const MARGIN = 8;
const ROW = 30;
const PHONE = 769; // below this Grafana puts one panel below another

const asked = new URLSearchParams(location.search);
const theme = createTheme({ colors: { mode: asked.get('theme') ?? 'dark' } });
const width = Number(asked.get('width'));
const range = { from: Number(asked.get('from')), to: Number(asked.get('to')) };
const timeRange = { from: dateTime(range.from * 1000), to: dateTime(range.to * 1000) };
timeRange.raw = { from: timeRange.from, to: timeRange.to };

const board = await (await fetch(`/${asked.get('folder')}/${asked.get('dashboard')}.json`)).json();
const variables = Object.fromEntries(
  board.templating.list.slice(1).map(({ name }) => [name, asked.get(`var-${name}`) ?? '.*']),
);
const panels = placed(board.panels);
const data = await Promise.all(panels.map((panel) => (panel.type === 'row' ? [] : answers(panel, range, variables))));
const lines = (await Promise.all(board.annotations.list?.filter((mark) => mark.enable).map((mark) => marks(mark, range, variables)) ?? [])).flat();

// Gives each panel its place in pixels, rows closed up; on a phone all below one another.
function placed(all) {
  const unit = (width - 2 * MARGIN + MARGIN) / 24;
  let below = 0;
  return all.map((panel) => {
    const { x, y, w, h } = panel.gridPos;
    const high = h * (ROW + MARGIN) - MARGIN;
    if (width >= PHONE) {
      return { ...panel, box: { left: MARGIN + x * unit, top: y * (ROW + MARGIN), width: w * unit - MARGIN, height: high } };
    }
    const top = below;
    below += high + MARGIN;
    return { ...panel, box: { left: MARGIN, top, width: width - 2 * MARGIN, height: high } };
  });
}

function Header() {
  const { colors, typography, spacing } = theme;
  const box = { border: `1px solid ${colors.border.weak}`, background: colors.background.primary, borderRadius: 4, padding: '4px 8px' };
  const stamp = (at) => at.format('YYYY-MM-DD HH:mm:ss');
  return (
    <div style={{ display: 'flex', flexWrap: 'wrap', gap: spacing(1), alignItems: 'center', padding: `${MARGIN}px ${MARGIN}px ${2 * MARGIN}px` }}>
      <span style={{ ...typography.h4, marginRight: spacing(2) }}>{board.title}</span>
      {board.templating.list.map(({ name, label }) => (
        <span key={name} style={box}>
          <span style={{ color: colors.text.secondary, marginRight: 8 }}>{label}</span>
          {name === 'datasource' ? 'Prometheus' : variables[name] === '.*' ? 'All' : variables[name]}
        </span>
      ))}
      {board.annotations.list?.map(({ name, enable, iconColor }) => (
        <span key={name} style={{ ...box, opacity: enable ? 1 : 0.5 }}>
          <span style={{ color: theme.visualization.getColorByName(iconColor), marginRight: 6 }}>●</span>
          {name}
        </span>
      ))}
      <span style={{ ...box, marginLeft: 'auto' }}>{`${stamp(timeRange.from)} → ${stamp(timeRange.to)}`}</span>
    </div>
  );
}

function Board() {
  const bottom = Math.max(...panels.map(({ box }) => box.top + box.height)) + MARGIN;
  return (
    <div id="board" style={{ width, background: theme.colors.background.canvas, color: theme.colors.text.primary }}>
      <Header />
      <div style={{ position: 'relative', height: bottom }}>
        {panels.map((panel, index) => (
          <div key={panel.id} style={{ position: 'absolute', ...panel.box }}>
            {panel.type === 'row' ? (
              <div style={{ ...theme.typography.h5, lineHeight: `${ROW}px` }}>⌄ {panel.title}</div>
            ) : (
              <PanelChrome title={panel.title} description={panel.description} width={panel.box.width} height={panel.box.height}>
                {(inner, high) => <Content {...{ panel, frames: data[index], lines, width: inner, height: high, theme, timeRange }} />}
              </PanelChrome>
            )}
          </div>
        ))}
      </div>
    </div>
  );
}

createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <Board />
  </ThemeContext.Provider>,
);
// Charts draw in the frames after React's; two seconds cover the slowest.
setTimeout(() => (window.previewReady = true), 2000);
