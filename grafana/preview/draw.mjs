// Takes a Prometheus and a list of pictures, draws each: `node draw.mjs http://127.0.0.1:9090 pictures.json`.
//
// pictures.json: [{ "file": "…png", "query": { "dashboard": …, "folder": …, "from": …, "to": …, "width": … }, "clip": pixels }]
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { build } from 'esbuild';
import puppeteer from 'puppeteer-core';
import sharp from 'sharp';

const here = import.meta.dirname;
const [prometheus, list] = process.argv.slice(2);
const BROWSERS = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const TYPES = { '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };

const executablePath = BROWSERS.find((path) => path && existsSync(path));
if (!executablePath) {
  console.error('previews: no Chromium; apt-get install chromium, or name one with CHROMIUM=/path/to/chromium');
  process.exit(1);
}

await build({
  entryPoints: [join(here, 'page.jsx')],
  outfile: join(here, 'dist/page.js'),
  bundle: true,
  format: 'esm',
  jsx: 'automatic',
  minify: true,
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
  loader: { '.svg': 'dataurl', '.woff2': 'dataurl', '.ttf': 'dataurl' },
  logLevel: 'error',
});

const PAGE = '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/dist/page.css"><body style="margin:0"><div id="root"></div><script type="module" src="/dist/page.js"></script>';
// Grafana's components ask for their icons here.
const ICONS = 'node_modules/@grafana/ui/dist/public/';

const server = createServer(async (request, response) => {
  const { pathname, search } = new URL(request.url, 'http://localhost');
  if (pathname === '/') {
    response.setHeader('Content-Type', 'text/html');
    response.end(PAGE);
  } else if (pathname.startsWith('/api/')) {
    const answer = await fetch(prometheus + pathname + search);
    response.end(Buffer.from(await answer.arrayBuffer()));
  } else {
    const name = normalize(pathname).replace(/^\/public\/(build\/)?/, `/${ICONS}`);
    const path = [join(here, name), join(here, '..', name)].find((each) => existsSync(each));
    response.statusCode = path ? 200 : 404;
    response.setHeader('Content-Type', TYPES[extname(name)] ?? 'application/octet-stream');
    path ? createReadStream(path).pipe(response) : response.end();
  }
}).listen(0, '127.0.0.1');

const browser = await puppeteer.launch({ executablePath, args: ['--no-sandbox', '--font-render-hinting=none', '--disable-gpu'] });
let failed = false;
for (const { file, query, clip } of JSON.parse(readFileSync(list))) {
  const page = await browser.newPage();
  page.on('pageerror', (error) => {
    failed = true;
    console.error(`previews: ${file}: ${error.message.slice(0, 500)}`);
  });
  if (process.env.VERBOSE) {
    page.on('console', (message) => console.error(message.text().slice(0, 300)));
  }
  await page.setViewport({ width: query.width, height: 900, deviceScaleFactor: query.width < 769 ? 2 : 1 });
  await page.goto(`http://127.0.0.1:${server.address().port}/?${new URLSearchParams(query)}`);
  await page.waitForFunction('window.previewReady', { timeout: 60_000 });
  await page.waitForNetworkIdle({ idleTime: 500 }); // icons come last
  const height = Math.min(clip ?? Infinity, await page.evaluate("document.getElementById('board').offsetHeight"));
  await page.setViewport({ width: query.width, height, deviceScaleFactor: query.width < 769 ? 2 : 1 });
  const shot = await page.screenshot({ clip: { x: 0, y: 0, width: query.width, height } });
  await sharp(shot).png({ palette: true, colours: 256, dither: 0, effort: 10, compressionLevel: 9 }).toFile(file);
  console.log(file);
  await page.close();
}
await browser.close();
server.close();
process.exit(failed ? 1 : 0);
