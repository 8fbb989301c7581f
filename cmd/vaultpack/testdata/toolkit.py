# What an image of AWS's starts with in script mode, as far as a script can tell: it unpacks
# the source and starts the script as sagemaker-training-toolkit does (entry_point.py,
# environment.py, mapping.py, process.py), with arguments and variables made by Python.
import json, os, shlex, socket, subprocess, sys, tarfile

ML = '/opt/ml'
def config(name):
    with open(f'{ML}/input/config/{name}.json') as f:
        return json.load(f)
def decoded(text):
    try:
        return json.loads(text)
    except ValueError:
        return text
def dumps(v):
    return json.dumps(v, sort_keys=True, separators=(',', ':'))

read = {k: decoded(v) for k, v in config('hyperparameters').items()}
hps = {k: v for k, v in read.items() if not k.startswith('sagemaker_')}
with tarfile.open(read['sagemaker_submit_directory']) as t:
    t.extractall(f'{ML}/code')
args = []
for k, v in sorted(hps.items()):
    args.append(('--' if len(k) > 1 else '-') + k)
    if isinstance(v, dict):
        v = ','.join(f'{a}={b}' for a, b in sorted(v.items()))
    args.append('' if v is None else str(v))
resources = config('resourceconfig')
env = {'MODULE_DIR': read['sagemaker_submit_directory'], 'HPS': hps, 'USER_ARGS': args, 'CHANNELS': sorted(config('inputdataconfig')),
       'CURRENT_HOST': resources['current_host'], 'HOSTS': resources['hosts'], 'MODEL_DIR': f'{ML}/model', 'OUTPUT_DATA_DIR': f'{ML}/output/data'}
env.update({'CHANNEL_' + c.upper(): f'{ML}/input/data/{c}' for c in env['CHANNELS']})
env.update({'HP_' + k.upper(): v for k, v in hps.items()})
for k, v in env.items():
    os.environ['SM_' + k] = '' if v is None else v if isinstance(v, str) else dumps(v)
for h in resources['hosts']:
    socket.gethostbyname(h)
entry = read['sagemaker_program']
command = [sys.executable, entry] + args
if not entry.endswith('.py'):
    os.chmod(f'{ML}/code/{entry}', 0o777)
    command = ['/bin/sh', '-c', ' '.join(['./' + entry] + [shlex.quote(a) for a in args])]
sys.exit(subprocess.call(command, cwd=f'{ML}/code'))
