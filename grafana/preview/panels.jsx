// A panel and its frames in, the component of Grafana that draws it out. Only the state timeline is drawn here: Grafana
// has it in its server's source and in no package.
import { useEffect, useState } from 'react';
import {
  applyFieldOverrides,
  cacheFieldDisplayNames,
  FieldType,
  getDisplayProcessor,
  getFieldDisplayName,
  getFieldDisplayValues,
  Registry,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
} from '@grafana/data';
import { BarGauge, BigValue, TimeSeries, VizLegend } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { lastValueFrom } from 'rxjs';

standardTransformersRegistry.setInit(() =>
  [standardTransformers.mergeTransformer, standardTransformers.organizeFieldsTransformer].map((transformation) => ({
    id: transformation.id,
    name: transformation.name,
    transformation: async () => transformation,
  })),
);

// What may stand in `fieldConfig`; in Grafana each kind of panel registers its own.
const STANDARD = ['unit', 'min', 'max', 'decimals', 'displayName', 'color', 'thresholds', 'mappings', 'noValue', 'links'];
const CUSTOM = [
  'axisBorderShow', 'axisPlacement', 'axisSoftMax', 'barAlignment', 'cellOptions', 'drawStyle', 'fillOpacity', 'gradientMode', 'hideFrom', 'lineInterpolation',
  'lineStyle', 'lineWidth', 'pointSize', 'scaleDistribution', 'showPoints', 'spanNulls', 'stacking', 'thresholdsStyle', 'width',
];
const property = (isCustom) => (name) => ({
  id: isCustom ? `custom.${name}` : name,
  path: name,
  name,
  isCustom,
  process: (value) => value,
  shouldApply: () => true,
  settings: {},
});
const registry = new Registry(() => [...STANDARD.map(property(false)), ...CUSTOM.map(property(true))]);

// What Grafana's panels take where the dashboard says nothing.
const DEFAULTS = { barAlignment: 0, lineInterpolation: 'linear', pointSize: 5, axisPlacement: 'auto', hideFrom: { viz: false, legend: false, tooltip: false } };

function configured(panel, frames, theme) {
  const fieldConfig = structuredClone(panel.fieldConfig);
  fieldConfig.defaults.custom = { ...DEFAULTS, ...fieldConfig.defaults.custom };
  return applyFieldOverrides({
    data: frames,
    fieldConfig,
    fieldConfigRegistry: registry,
    replaceVariables: (text) => text,
    theme,
    timeZone: 'browser',
  });
}

export function Content(props) {
  const { panel, frames, theme } = props;
  if (!frames.some(({ length }) => length) && panel.type !== 'table' && panel.type !== 'stat') {
    return (
      <div style={{ color: theme.colors.text.secondary, display: 'grid', placeItems: 'center', height: '100%' }}>
        {panel.fieldConfig.defaults.noValue}
      </div>
    );
  }
  const Kind = { bargauge: Meters, stat: Stat, 'state-timeline': Bands, table: Rows, timeseries: Curves }[panel.type];
  return <Kind {...props} />;
}

function Curves({ panel, frames, lines, width, height, theme, timeRange }) {
  return (
    <TimeSeries
      frames={configured(panel, frames, theme)}
      width={width}
      height={height}
      timeRange={timeRange}
      timeZone="browser"
      legend={panel.options.legend}
      options={panel.options}
    >
      {(builder) => {
        builder.addHook('draw', (plot) => verticals(plot, lines, theme));
        return null;
      }}
    </TimeSeries>
  );
}

function verticals(plot, lines, theme) {
  const { ctx, bbox } = plot;
  ctx.save();
  for (const { time, colour } of lines) {
    const x = plot.valToPos(time, 'x', true);
    if (x < bbox.left || x > bbox.left + bbox.width) {
      continue;
    }
    ctx.strokeStyle = ctx.fillStyle = theme.visualization.getColorByName(colour);
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([5 * devicePixelRatio, 5 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const half = 5 * devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(x - half, bbox.top + bbox.height + half);
    ctx.lineTo(x + half, bbox.top + bbox.height + half);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.fill();
  }
  ctx.restore();
}

function displayed(panel, frames, theme) {
  return getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text,
    theme,
    data: configured(panel, frames, theme),
    timeZone: 'browser',
    sparkline: panel.options.graphMode === 'area',
  });
}

function Stat({ panel, frames, width, height, theme }) {
  const [shown] = frames.length ? displayed(panel, frames, theme) : [];
  const { colorMode, graphMode, textMode } = panel.options;
  const value = shown?.display ?? { text: panel.fieldConfig.defaults.noValue, numeric: NaN, color: theme.colors.text.secondary };
  return (
    <BigValue
      {...{ width, height, theme, colorMode, graphMode, justifyMode: 'auto', textMode }}
      value={value}
      sparkline={shown?.sparkline}
    />
  );
}

function Meters({ panel, frames, width, height, theme }) {
  const shown = displayed(panel, frames, theme);
  const each = Math.min(height / shown.length, 60);
  return shown.map(({ display, field }, index) => (
    <div key={index} style={{ height: each }}>
      <BarGauge
        {...{ width, height: each - 8, theme, field, value: display, display: field.display }}
        orientation="horizontal"
        displayMode={panel.options.displayMode}
        valueDisplayMode={panel.options.valueMode}
        namePlacement="auto"
        lcdCellWidth={12}
        itemSpacing={8}
      />
    </div>
  ));
}

function Rows({ panel, frames, width, height, theme }) {
  const [frame, setFrame] = useState();
  useEffect(() => {
    lastValueFrom(transformDataFrame(panel.transformations ?? [], frames.filter(({ length }) => length))).then(([joined]) => {
      const rows = joined && configured(panel, [joined], theme);
      cacheFieldDisplayNames(rows ?? []);
      setFrame(rows?.[0]);
    });
  }, []);
  if (!frame) {
    return <div style={{ color: theme.colors.text.secondary, display: 'grid', placeItems: 'center', height: '100%' }}>{panel.fieldConfig.defaults.noValue}</div>;
  }
  const sortBy = panel.options.sortBy ?? [];
  return <TableNG {...{ data: frame, width, height, sortBy }} cellHeight={panel.options.cellHeight} fieldConfig={panel.fieldConfig} enableVirtualization={false} />;
}

// Bands of equal values, a row for each series.
function Bands({ panel, frames, width, height, theme, timeRange }) {
  const rows = configured(panel, frames, theme).map((frame) => {
    const [time, value] = frame.fields;
    const display = value.display ?? getDisplayProcessor({ field: value, theme });
    const step = time.config.interval;
    const bands = [];
    time.values.forEach((at, index) => {
      if (value.values[index] === null) {
        return;
      }
      const { text, color } = display(value.values[index]);
      const last = bands.at(-1);
      if (last && last.text === text && at - last.to <= step) {
        last.to = at;
      } else {
        bands.push({ text, color, from: last && at - last.to <= step ? last.to : at, to: at });
      }
    });
    return { name: getFieldDisplayName(value, frame, frames), bands };
  });
  const seen = new Map(rows.flatMap(({ bands }) => bands.map(({ text, color }) => [text, color])));
  const from = timeRange.from.valueOf();
  const span = timeRange.to.valueOf() - from;
  const names = Math.min(width / 3, 12 + 7.2 * Math.max(...rows.map(({ name }) => name.length)));
  const high = Math.min(34, (height - 52) / rows.length);
  const place = (at) => `${(100 * (at - from)) / span}%`;
  return (
    <div style={{ fontSize: 12, height, display: 'flex', flexDirection: 'column' }}>
      <div style={{ flexGrow: 1 }}>
        {rows.map(({ name, bands }) => (
          <div key={name} style={{ display: 'flex', height: high, alignItems: 'center' }}>
            <div style={{ width: names, paddingRight: 10, textAlign: 'right', overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }}>{name}</div>
            <div style={{ position: 'relative', flexGrow: 1, height: 0.8 * high }}>
              {bands.map(({ from: left, to, color }) => (
                <div key={left} style={{ position: 'absolute', left: place(left), width: place(from + to - left), height: '100%', background: color, opacity: 0.85 }} />
              ))}
            </div>
          </div>
        ))}
        <Axis {...{ names, from, span, theme, width }} />
      </div>
      <VizLegend displayMode="list" placement="bottom" items={[...seen].map(([label, color]) => ({ label, color, yAxis: 1 }))} />
    </div>
  );
}

function Axis({ names, from, span, theme, width }) {
  const count = Math.max(2, Math.floor((width - names) / 130));
  const nice = [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200].map((s) => s * 1000).find((each) => span / each <= count);
  const first = Math.ceil(from / nice) * nice;
  const times = Array.from({ length: Math.floor((from + span - first) / nice) + 1 }, (_, index) => first + index * nice);
  const pad = (number) => String(number).padStart(2, '0');
  const shown = (at) => {
    const date = new Date(at);
    const day = span > 86400e3 ? `${pad(date.getMonth() + 1)}/${pad(date.getDate())} ` : '';
    return `${day}${pad(date.getHours())}:${pad(date.getMinutes())}${nice < 60e3 ? `:${pad(date.getSeconds())}` : ''}`;
  };
  return (
    <div style={{ position: 'relative', marginLeft: names, height: 18, color: theme.colors.text.secondary }}>
      {times.map((at) => (
        <span key={at} style={{ position: 'absolute', left: `${(100 * (at - from)) / span}%`, transform: 'translateX(-50%)', whiteSpace: 'nowrap' }}>
          {shown(at)}
        </span>
      ))}
    </div>
  );
}
