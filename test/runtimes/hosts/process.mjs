/* In Node, Deno and Bun: `process.mjs CONFIG`, the configuration as JSON. */
import * as api from 'routed-attention'
import { runSuite } from '../suite/suite.js'
import { report } from './report.js'

const host = JSON.parse(process.argv[2])
void report(host, () => runSuite(api, host))
