import { spawn } from 'node:child_process'
import { Agent, request } from 'node:http'
import { nodeBinary, root } from './paths.mjs'

/** `routed-attention serve` in a process of its own, and a client of it in this one. */
export class HttpServer {
  #child
  #port
  #agent = new Agent({ keepAlive: true })

  /** Resolves once it listens. @param args of `serve`, the model first */
  static async start(args) {
    const server = new HttpServer()
    server.#child = spawn(nodeBinary(), [`${root}dist/cli.js`, 'serve', ...args, '--port', '0'], { stdio: ['ignore', 'pipe', 'pipe'] })
    server.#port = await new Promise((resolve, reject) => {
      let output = ''
      const read = (text) => {
        output += text
        const [, port] = /127\.0\.0\.1:(\d+)/.exec(output) ?? []
        if (port !== undefined) resolve(Number(port))
      }
      server.#child.stdout.on('data', read)
      server.#child.stderr.on('data', read)
      server.#child.once('exit', (code, signal) => reject(new Error(`serve ended (${signal ?? code}): ${output.trim()}`)))
    })
    return server
  }

  /** Streams a completion. @param onEvent called for each event but the last, [DONE] */
  complete(body, onEvent) {
    return this.#send('POST', '/v1/completions', { ...body, stream: true }, (block) => {
      if (!block.startsWith('data: ') || block === 'data: [DONE]') return
      const event = JSON.parse(block.slice(6))
      if (event.error) throw new Error(`a stream broke off: ${event.error.message}`)
      onEvent(event)
    })
  }

  /** A number that `GET /metrics` shows. */
  async metric(name) {
    let text = ''
    await this.#send('GET', '/metrics', undefined, (block) => (text += `${block}\n`))
    return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)[1])
  }

  /** @param onBlock called for each part of the answer that ends with an empty line */
  #send(method, path, body, onBlock) {
    const bytes = body && Buffer.from(JSON.stringify(body))
    const headers = bytes ? { 'content-type': 'application/json', 'content-length': bytes.length } : {}
    return new Promise((resolve, reject) => {
      const sending = request({ host: '127.0.0.1', port: this.#port, agent: this.#agent, method, path, headers }, (answer) => {
        answer.setEncoding('utf8')
        let rest = ''
        answer.on('data', (text) => {
          const blocks = (rest + text).split('\n\n')
          rest = blocks.pop()
          try {
            blocks.forEach(onBlock)
          } catch (error) {
            reject(error)
          }
        })
        answer.on('error', reject)
        answer.on('end', () => {
          if (answer.statusCode !== 200) return reject(new Error(`${method} ${path} was answered ${answer.statusCode} ${rest}`))
          if (rest) onBlock(rest)
          resolve()
        })
      })
      sending.on('error', reject)
      sending.end(bytes)
    })
  }

  /** Ends it, and resolves once it is gone. */
  async stop() {
    this.#agent.destroy()
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill('SIGTERM')
    const insist = setTimeout(() => this.#child.kill('SIGKILL'), 5000)
    await ended
    clearTimeout(insist)
  }
}
