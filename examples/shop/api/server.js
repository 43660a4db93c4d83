// A small API: what the platform told it, and a counter in Redis, spoken to over a plain socket.
'use strict';
const http = require('node:http');
const net = require('node:net');
const colours = require('picocolors');

const relationships = JSON.parse(Buffer.from(process.env.PLATFORM_RELATIONSHIPS, 'base64').toString());
const redis = relationships.redis[0];

/** One INCR; the answer is `:N\r\n`. */
function count(key) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(redis.port, redis.host, () => socket.write(`INCR ${key}\r\n`));
    socket.setTimeout(2000, () => socket.destroy(new Error('redis is silent')));
    socket.once('data', (data) => { resolve(parseInt(data.toString().slice(1), 10)); socket.end(); });
    socket.once('error', reject);
  });
}

const server = http.createServer(async (request, response) => {
  try {
    const body = { app: 'api', branch: process.env.PLATFORM_BRANCH, calls: await count('api-calls') };
    response.writeHead(200, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(body) + '\n');
  } catch (error) {
    response.writeHead(502, { 'Content-Type': 'text/plain' });
    response.end(`${error.message}\n`);
  }
});
server.listen(Number(process.env.PORT), () => console.log(colours.green(`listening on ${process.env.PORT}`)));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
