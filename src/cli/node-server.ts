import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { RoutedAttentionError } from '../index.js'

/** A handler that listens on a port. */
export interface Listening {
  /** Where it does: the port is a free one if 0 was asked for. */
  readonly address: AddressInfo
  /** Takes no further connections and ends those that are idle. */
  stop(): void
  /** Resolves when no connection is left; those that are, after `stop`, are cut. */
  end(): Promise<void>
}

/**
 * Listens with Node's own server.
 * @param handler told the address of the client's connection besides; '' if it has gone
 * @throws RoutedAttentionError `NETWORK` if the port is taken or not allowed
 */
export async function listen(
  handler: (request: Request, address: string) => Promise<Response>,
  { host, port }: { host: string; port: number },
): Promise<Listening> {
  const listener = getRequestListener((request, { incoming }) => handler(request, incoming.socket.remoteAddress ?? ''), {
    overrideGlobalObjects: false,
  })
  // a rejection has been answered by then
  const server = createServer((incoming, outgoing) => void listener(incoming, outgoing).catch(() => outgoing.destroy()))
  await open(server, host, port)
  const closed = new Promise<void>((resolve) => server.once('close', resolve))
  return {
    address: server.address() as AddressInfo,
    stop: () => void server.close(),
    end: () => {
      server.closeAllConnections()
      return closed
    },
  }
}

function open(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      reject(new RoutedAttentionError('NETWORK', `cannot listen on ${host}, port ${port}: ${cause.message}`, { cause }))
    })
    server.listen(port, host, resolve)
  })
}
