// Takes Grafana's own types (npm @grafana/schema), gives dashboard.schema.json: `npm install --legacy-peer-deps && npm run generate`.
//
// One definition for the dashboard, and for each kind of panel that we use one of its `options` and one of its
// `fieldConfig.defaults.custom`, which the dashboard's own type leaves open.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createGenerator } from 'ts-json-schema-generator';

// A panel's type in a dashboard, and the folder of its types.
const PANELS = { bargauge: 'bargauge', stat: 'stat', 'state-timeline': 'statetimeline', table: 'table', timeseries: 'timeseries' };
// What Prometheus' own annotation queries hold beside what all have.
const PROMETHEUS = { expr: 'string', step: 'string', textFormat: 'string', titleFormat: 'string', useValueForTime: 'boolean' };
const here = import.meta.dirname;
const types = join(here, 'node_modules/@grafana/schema/dist/types/raw');
const { version, license } = JSON.parse(readFileSync(join(here, 'node_modules/@grafana/schema/package.json')));

// Below `here`, so that the types are found in its node_modules.
const scratch = mkdtempSync(join(here, '.generate-'));
const definitions = {};
try {
  add('Dashboard', `${types}/dashboard/x/types.gen`, 'Dashboard');
  for (const [panel, folder] of Object.entries(PANELS)) {
    const file = `${types}/composable/${folder}/panelcfg/x/types.gen`;
    add(`${panel}.options`, file, 'Options');
    if (/interface FieldConfig\b/.test(readFileSync(`${file}.d.ts`))) {
      add(`${panel}.custom`, file, 'FieldConfig');
    }
  }
} finally {
  rmSync(scratch, { recursive: true });
}

for (const [key, type] of Object.entries(PROMETHEUS)) {
  definitions['Dashboard/AnnotationQuery'].properties[key] = { type };
}
const schema = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  $comment: `Made by grafana/schema/generate.mjs from @grafana/schema ${version}, Copyright Grafana Labs, ${license}.`,
  definitions,
};
writeFileSync(join(here, 'dashboard.schema.json'), JSON.stringify(schema, null, 1) + '\n');

// Takes a type in a file, adds it and all it refers to under names of their own: several files have an `Options`.
function add(name, file, type) {
  const entry = join(scratch, 'entry.ts');
  const config = join(scratch, 'tsconfig.json');
  writeFileSync(entry, `import type { ${type} as Root } from '${file}';\nexport type Wanted = Root;\n`);
  writeFileSync(
    config,
    JSON.stringify({
      compilerOptions: { module: 'esnext', moduleResolution: 'bundler', strict: true, skipLibCheck: true, lib: ['es2022', 'dom'] },
      files: ['entry.ts'],
    }),
  );
  const made = createGenerator({
    path: entry,
    tsconfig: config,
    type: 'Wanted',
    topRef: false,
    skipTypeCheck: true,
    additionalProperties: false,
    jsDoc: 'none',
  }).createSchema('Wanted');
  const own = (key) => `${name}/${key}`.replaceAll(/[^\w./-]/g, '_');
  const rename = (node) =>
    JSON.parse(JSON.stringify(node), (key, value) =>
      key === '$ref' ? `#/definitions/${own(decodeURIComponent(value.split('/').pop())).replaceAll('/', '~1')}` : value,
    );
  const { definitions: inner, $schema, ...root } = made;
  definitions[name] = rename(root);
  for (const [key, node] of Object.entries(inner ?? {})) {
    definitions[own(key)] = rename(node);
  }
}
