import * as api from '../node_modules/routed-attention/dist/index.js'
import { runPolicy } from '../suite/policies.js'
import { report } from './report.js'

const host = JSON.parse(decodeURIComponent(location.search.slice(1)))
void report(host, () => runPolicy(api, host.policy))
