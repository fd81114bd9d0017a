import type { CallName, Calls, Reply, Request } from '../protocol.js'
import { Host } from './host.js'

/** What a worker has of its global scope that a page has otherwise. */
const scope = self as unknown as {
  postMessage(reply: Reply): void
  addEventListener(type: 'message', listener: (event: MessageEvent<Request>) => void): void
}

const host = new Host()
const running = new Map<number, AbortController>()

scope.addEventListener('message', ({ data }) => {
  if ('cancel' in data) return running.get(data.cancel)?.abort()
  void answer(data.id, data.name, data.params)
})

async function answer<Name extends CallName>(id: number, name: Name, params: Calls[Name]['params']): Promise<void> {
  const controller = new AbortController()
  running.set(id, controller)
  try {
    const handler = host[name] as unknown as Handler<Name>
    const result = await handler.call(host, params, controller.signal, (event) => scope.postMessage({ id, event }))
    scope.postMessage({ id, result })
  } catch (error) {
    scope.postMessage({ id, error: described(error, controller.signal.aborted) })
  } finally {
    running.delete(id)
  }
}

type Handler<Name extends CallName> = (
  params: Calls[Name]['params'],
  signal: AbortSignal,
  emit: (event: Calls[Name]['event']) => void,
) => Promise<Calls[Name]['result']>

function described(error: unknown, aborted: boolean): { code: string; message: string; aborted: boolean } {
  const { code, name, message } = error as { code?: string; name?: string; message?: string }
  return { code: code ?? name ?? 'Error', message: message ?? String(error), aborted }
}
