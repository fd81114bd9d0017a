import { HttpError } from './http-error.js'
import { json } from './reply.js'
import type { Route } from './router.js'
import type { Services } from './services.js'
import { closing } from './work.js'

/** Routes that tell about the server and its model. */
export function informationRoutes({
  settings: { modelName },
  created,
  metrics,
  work,
}: Pick<Services, 'settings' | 'created' | 'metrics' | 'work'>): Route[] {
  const model = { id: modelName, object: 'model', created, owned_by: 'routed-attention' }
  return [
    { method: 'GET', pattern: '/v1/models', handle: () => json({ object: 'list', data: [model] }) },
    {
      method: 'GET',
      pattern: '/v1/models/:model',
      handle: ({ params }) => {
        checkModel(decode(params['model']!), modelName)
        return json(model)
      },
    },
    {
      method: 'GET',
      pattern: '/health',
      isOpen: true,
      handle: () => {
        if (work.isClosing) throw closing()
        return json({ status: 'ok' })
      },
    },
    {
      method: 'GET',
      pattern: '/metrics',
      handle: () => ({
        status: 200,
        headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
        body: metrics.registry.toString(),
      }),
    },
  ]
}

/** @param given undefined: any model will do @throws HttpError 404 for another model's name */
export function checkModel(given: string | undefined, served: string): void {
  if (given !== undefined && given !== served)
    throw new HttpError(404, 'NOT_FOUND', `there is no model of this name here; there is ${JSON.stringify(served)}`, { param: 'model' })
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    return segment
  }
}
