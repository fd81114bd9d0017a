/** `routed-attention serve`, and curl as its client. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { describeRequest } from '../../src/cli/request-log.js'
import { runCommand, startCommand } from '../support/command.js'
import { servedModel, type Serving, startServing } from '../support/serving.js'

const run = promisify(execFile)

/** curl as a process, and what it prints. */
function startCurl(...args: string[]) {
  return run('curl', ['--silent', '--show-error', '--max-time', '300', ...args], { maxBuffer: 2 ** 28 })
}

async function curl(...args: string[]): Promise<string> {
  return (await startCurl(...args)).stdout
}

const asJson = ['-H', 'content-type: application/json', '-d']

/** A stream of so many tokens, once the first has come. */
async function startStream(origin: string, tokens: number) {
  const body = JSON.stringify({ prompt: 'He', max_tokens: tokens, ignore_eos: true, stream: true })
  const stream = startCurl('-N', `${origin}/v1/completions`, ...asJson, body)
  await new Promise((resolve) => stream.child.stdout!.once('data', resolve))
  return { child: stream.child, ending: stream }
}

/** More than are generated while any test waits. */
const ENDLESS = 1_000_000

describe('serve', () => {
  let serving: Serving
  beforeAll(async () => {
    serving = await startServing('--name', 'novels', '--max-tokens', String(ENDLESS), '--max-body-bytes', '2000')
  })
  afterAll(() => serving.end())

  test('responds to curl', async () => {
    const answer = await curl(
      `${serving.origin}/v1/completions`,
      ...asJson,
      '{"prompt": "The old captain", "max_tokens": 4, "temperature": 0}',
    )
    expect(JSON.parse(answer)).toMatchObject({
      object: 'text_completion',
      model: 'novels',
      choices: [{ index: 0, finish_reason: 'length' }],
    })
    expect(await serving.logged(/POST \/v1\/completions 200 in [\d,]+ ms, read 3 tokens, wrote 4$/)).toMatch(
      /^\d{4}-\d\d-\d\dT[\d:.]+Z POST/,
    )
  })

  test('streams tokens to curl as they are generated', async () => {
    const output = await curl(
      '-N',
      '-i',
      `${serving.origin}/v1/completions`,
      ...asJson,
      '{"prompt": "He", "max_tokens": 3, "temperature": 0, "stream": true}',
    )
    expect(output).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
    expect(output).toMatch(/^content-type: text\/event-stream\r$/m)
    expect(output).toMatch(/^transfer-encoding: chunked\r$/im)
    expect(output.match(/^data: \{.*\}$/gm)!.length).toBeGreaterThanOrEqual(2)
    expect(output).toMatch(/\n\ndata: \[DONE\]\n\n$/)
  })

  test('rejects invalid requests with a status that says why', async () => {
    const status = (...args: string[]) => curl('-o', '/dev/null', '-w', '%{http_code}', ...args)
    expect(await status(`${serving.origin}/v1/completions`, '-d', '{"prompt": "He"}')).toBe('415')
    expect(await status(`${serving.origin}/v1/completions`, ...asJson, '{"prompt": ')).toBe('400')
    expect(await status(`${serving.origin}/v1/completions`, ...asJson, `{"prompt": "${'x'.repeat(2000)}"}`)).toBe('413')
    expect(await status(`${serving.origin}/v1/completions`)).toBe('405')
    expect(await status(`${serving.origin}/elsewhere`)).toBe('404')
    expect(await status('-H', 'origin: https://page.test', `${serving.origin}/v1/models`)).toBe('403')
    expect(await status(`${serving.origin}/health`)).toBe('200')
    expect(await curl(`${serving.origin}/metrics`)).toMatch(
      /^routed_attention_requests_total\{route="\/v1\/completions",status="415"\} 1$/m,
    )
  })

  test('gives a conversation to curl as a file, and takes it back', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'routed-attention-serve-'))
    const conversations = `${serving.origin}/v1/conversations`
    const { id } = JSON.parse(await curl(conversations, ...asJson, '{}')) as { id: string }
    await curl(`${conversations}/${id}/turns`, ...asJson, '{"prompt": "The old captain", "max_tokens": 8}')
    const told = await curl('-N', `${conversations}/${id}/events`)
    await curl('--output-dir', folder, '-OJ', `${conversations}/${id}/export`)
    const file = join(folder, `${id}.conversation`)
    expect(readFileSync(file, 'latin1')).toMatch(/^RTCONV/)
    const type = ['-H', 'content-type: application/vnd.routed-attention.conversation', '--data-binary', `@${file}`]
    const taken = JSON.parse(await curl(conversations, ...type)) as { id: string }
    expect(taken.id).not.toBe(id)
    expect(await curl('-N', `${conversations}/${taken.id}/events`)).toBe(told)
    rmSync(folder, { recursive: true })
  })

  test('stops generating when curl is killed', async () => {
    const from = serving.log.length
    const { child, ending } = await startStream(serving.origin, ENDLESS)
    child.kill()
    await expect(ending).rejects.toMatchObject({ signal: 'SIGTERM' })
    expect(await serving.logged(/CLIENT_LEFT/, from)).toMatch(/499 CLIENT_LEFT in [\d,]+ ms, read 1 tokens/)
  })

  test('drops clients that send half a request, or no valid one', async () => {
    const impatient = await startServing('--stall-timeout', '1000')
    const exchange = ({ origin }: Serving, text: string) =>
      new Promise<string>((resolve, reject) => {
        let answer = ''
        const socket = connect(Number(new URL(origin).port), '127.0.0.1', () => socket.write(text))
        socket.on('data', (chunk) => {
          answer += chunk.toString()
          if (/\r\n\r\n[^]*\}$/.test(answer)) socket.destroy()
        })
        socket.on('close', () => resolve(answer)).on('error', reject)
      })
    const head = 'POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n'
    expect(await exchange(impatient, `${head}{"prompt"`)).toMatch(/^HTTP\/1\.1 408 .*"code":"TIMEOUT"/s)
    await impatient.end()
    expect(await exchange(serving, 'rubbish\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /)
  })

  test('logs neither texts nor addresses', async () => {
    const from = serving.log.length
    await curl(`${serving.origin}/v1/completions?secret`, ...asJson, '{"prompt": "secret", "secret": 1}')
    await curl(`${serving.origin}/secret`)
    await serving.logged(/404 NOT_FOUND/, from)
    expect(serving.log.join('\n')).not.toMatch(/secret|127\.0\.0\.1/)
  })
})

describe('serve as a process', () => {
  test('on SIGTERM finishes pending requests and rejects new ones', async () => {
    const serving = await startServing('--shutdown-timeout', '300000')
    const { ending } = await startStream(serving.origin, 1000)
    const { code, stdout } = await serving.end()
    expect((await ending).stdout).toMatch(/data: \[DONE\]\n\n$/)
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^novels-10m-v2-int8 at http:\/\/127\.0\.0\.1:\d+\/v1 \(wasm, .*\)\n$/),
    })
    expect(serving.log).toContain('shutting down')
    await expect(curl(serving.origin)).rejects.toThrow(/connect/i)
  })

  test('on Ctrl-C aborts requests that exceed the grace period', async () => {
    const serving = await startServing('--shutdown-timeout', '100', '--log', 'json', '--max-tokens', String(ENDLESS))
    const { ending } = await startStream(serving.origin, ENDLESS)
    expect((await serving.end('SIGINT')).code).toBe(130)
    expect((await ending).stdout).toMatch(/data: \{"error":\{"message":"the server is shutting down".*"code":"CLOSING"\}\}\n\n$/)
    const entries = serving.log.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as object)
    expect(entries.at(-1)).toMatchObject({ time: expect.any(String), route: '/v1/completions', status: 200, code: 'CLOSING' })
  })

  test('limits each client by its address, or by the one that a proxy reports', async () => {
    const serving = await startServing('--requests-per-minute', '1', '--client-header', 'x-client', '--log', 'none')
    const status = (...args: string[]) => curl('-o', '/dev/null', '-w', '%{http_code}', `${serving.origin}/v1/models`, ...args)
    expect([await status(), await status(), await status('-H', 'x-client: a'), await status('-H', 'x-client: a')]).toEqual([
      '200',
      '429',
      '200',
      '429',
    ])
    await serving.end()
    expect(serving.log).toEqual(['shutting down'])
  })

  test('listens on other interfaces only with a key, which may come from the environment', async () => {
    expect(await runCommand(['serve', servedModel, '--host', '0.0.0.0'])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/lets others in, which needs a key: set ROUTED_ATTENTION_API_KEYS/),
    })
    process.env['ROUTED_ATTENTION_API_KEYS'] = 'one,two'
    try {
      const serving = await startServing('--host', '0.0.0.0')
      const { port } = new URL(serving.origin)
      const status = (key: string) =>
        curl('-o', '/dev/null', '-w', '%{http_code}', '-H', `authorization: Bearer ${key}`, `http://127.0.0.1:${port}/v1/models`)
      expect([await status('one'), await status('two'), await status('one,two')]).toEqual(['200', '200', '401'])
      await serving.end()
    } finally {
      delete process.env['ROUTED_ATTENTION_API_KEYS']
    }
  })

  test('says why it cannot start', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => taken.once('listening', resolve))
    const { port } = taken.address() as AddressInfo
    const { ending } = startCommand('serve', servedModel, '--port', String(port))
    expect(await ending).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/cannot listen on 127\.0\.0\.1, port \d+: .*EADDRINUSE.*\(NETWORK\)/),
    })
    taken.close()
    process.env['ROUTED_ATTENTION_TRANSFER_SECRET'] = 'too short'
    const { code, stderr } = await runCommand(['serve', servedModel, '--port', '0'])
    delete process.env['ROUTED_ATTENTION_TRANSFER_SECRET']
    expect(stderr).toMatch(/transferSecret must be a string of at least 32 characters\b(?!.*too short)/)
    expect(code).toBeGreaterThan(0)
    const faults = [
      [['--port', '70000'], /--port takes an integer from 0 to 65535/],
      [['--max-queue', '-1'], /--max-queue takes an integer from 0/],
      [['--origin', 'page.test'], /origins must be an array of origins/],
      [['--max-choices', '20'], /maxChoices must be at most maxConcurrent/],
      [['extra'], /unexpected argument "extra"/],
    ] as const
    for (const [args, message] of faults) {
      const { code, stderr } = await runCommand(['serve', servedModel, '--port', '0', ...args])
      expect(stderr).toMatch(message)
      expect(code).toBeGreaterThan(0)
    }
  })
})

test('a log line shows method, path, status and duration', () => {
  const entry = { method: 'POST', route: '/v1/completions', status: 200, milliseconds: 1240.4, queuedMilliseconds: 310, promptTokens: 1200, cachedTokens: 8, completionTokens: 64 } // prettier-ignore
  expect(describeRequest(entry)).toBe('POST /v1/completions 200 in 1,240 ms, waited 310 ms, read 1,200 tokens (8 cached), wrote 64')
  expect(
    describeRequest({ ...entry, route: '', status: 404, code: 'NOT_FOUND', queuedMilliseconds: 0, promptTokens: 0, completionTokens: 0 }),
  ).toBe('POST (no such address) 404 NOT_FOUND in 1,240 ms')
})
