import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'

/** How one request is answered. What is left out is as a good server does it. */
export interface Behaviour {
  /** In place of the file. */
  bytes?: Uint8Array
  /** Default 200 and 206, or 404 for what is not there. */
  status?: number
  /** Default "v1"; null for none. */
  etag?: string | null
  lastModified?: Date
  /** Whether ranges are known. Default true. */
  ranges?: boolean
  /** In place of the right Content-Range, or null for none. */
  contentRange?: string | null
  /** No Content-Length. */
  chunked?: boolean
  /** In place of the right Content-Length; the connection is closed after the body. */
  contentLength?: number
  gzip?: boolean
  /** In chunks of this many bytes, with turns of the event loop between them. */
  pieces?: number
  /** Breaks the connection after this many bytes of the body; 'at once' before any answer. */
  drop?: number | 'at once'
  /** Sends nothing more after the body, and does not end it either. */
  hang?: boolean
}

export interface Asked {
  readonly name: string
  readonly range: string | undefined
  readonly ifRange: string | undefined
}

/** A server of files on this machine, which misbehaves on request. */
export class ModelServer {
  files: ReadonlyMap<string, Uint8Array> = new Map()
  /** Called for every request, with how often the file was requested before. */
  behave: (name: string, before: number) => Behaviour = () => ({})
  /** All requests. */
  asked: Asked[] = []
  private open = 0

  private constructor(private readonly server: Server) {
    server.on('request', (request, response: ServerResponse) => {
      const name = decodeURIComponent(new URL(request.url!, 'http://localhost').pathname.split('/').at(-1))
      const before = this.asked.filter((asked) => asked.name === name).length
      this.asked.push({ name, range: request.headers.range, ifRange: request.headers['if-range'] as string | undefined })
      this.open++
      response.on('close', () => this.open--)
      void this.answer(name, this.behave(name, before), request.headers, response)
    })
  }

  static async start(): Promise<ModelServer> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return new ModelServer(server)
  }

  get folder(): URL {
    return new URL(`http://127.0.0.1:${(this.server.address() as AddressInfo).port}/a%20model`)
  }

  /** The ranges that were asked of a file, undefined for all of it. */
  rangesOf(name: string): (string | undefined)[] {
    return this.asked.filter((asked) => asked.name === name).map(({ range }) => range)
  }

  /** Settles when no answer is under way any more. */
  async idle(): Promise<void> {
    while (this.open > 0) await turn()
  }

  reset(files: ReadonlyMap<string, Uint8Array>): void {
    this.files = files
    this.behave = () => ({})
    this.asked = []
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections()
    await new Promise((resolve) => this.server.close(resolve))
  }

  private async answer(name: string, behaviour: Behaviour, asked: IncomingHttpHeaders, response: ServerResponse): Promise<void> {
    const { drop, pieces, hang, contentLength, chunked, ranges = true } = behaviour
    if (drop === 'at once') return void response.destroy()
    const file = behaviour.bytes ?? this.files.get(name)
    if (file === undefined) return void response.writeHead(404).end('Not found')
    const etag = behaviour.etag === undefined ? '"v1"' : behaviour.etag
    const modified = behaviour.lastModified?.toUTCString()
    response.setHeader('cache-control', 'no-store')
    if (etag !== null) response.setHeader('etag', etag)
    if (modified !== undefined) response.setHeader('last-modified', modified)
    const first = Number(/^bytes=(\d+)-$/.exec(asked.range ?? '')?.[1])
    const isUnchanged = asked['if-range'] === undefined || [etag, modified].includes(asked['if-range'] as string)
    const isPart = ranges && !Number.isNaN(first) && isUnchanged
    if (isPart && first >= file.length) {
      response.setHeader('content-range', behaviour.contentRange ?? `bytes */${file.length}`)
      return void response.writeHead(behaviour.status ?? 416).end()
    }
    let body = isPart ? file.subarray(first) : file
    const contentRange = behaviour.contentRange === undefined ? `bytes ${first}-${file.length - 1}/${file.length}` : behaviour.contentRange
    if (isPart && contentRange !== null) response.setHeader('content-range', contentRange)
    if (behaviour.gzip) {
      body = gzipSync(body)
      response.setHeader('content-encoding', 'gzip')
    }
    if (!chunked) response.setHeader('content-length', contentLength ?? body.length)
    // No other request may be on a connection that ends early. One with chunks stays open till their end, and Node's
    // fetch would take the end of a connection that is to be closed for theirs.
    if (!chunked && (contentLength !== undefined || drop !== undefined)) response.setHeader('connection', 'close')
    response.writeHead(behaviour.status ?? (isPart ? 206 : 200))
    response.flushHeaders()
    const sent = body.subarray(0, drop)
    const step = pieces ?? Math.max(1, sent.length)
    for (let offset = 0; offset < sent.length && !response.destroyed; offset += step) {
      await new Promise((resolve) => response.write(sent.subarray(offset, offset + step), resolve))
      if (pieces !== undefined) await turn()
    }
    if (drop === undefined) return hang ? undefined : void response.end()
    // A client in this process reads what was sent in these turns: with the connection it would lose what it has not
    // read.
    for (let i = 0; i < 10; i++) await turn()
    response.destroy()
  }
}
