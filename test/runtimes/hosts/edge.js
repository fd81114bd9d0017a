/* In an edge worker: a request brings the configuration. */
import * as api from 'routed-attention'
import { runSuite } from '../suite/suite.js'
import { report } from './report.js'

// As in deployed workers, where no time passes while a request computes.
const now = Date.now()
Date.now = () => now
performance.now = () => 0

export default {
  /** @param {Request} request */
  async fetch(request) {
    const host = await request.json()
    await report(host, () => runSuite(api, host))
    return new Response('done')
  },
}
