"""Jobs by name, and Dask schedulers."""

from __future__ import annotations
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('dask_facade', '0003_schedule'),
    ]

    operations = [
        migrations.CreateModel(
            name='DaskScheduler',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=255, unique=True)),
                ('host', models.CharField(blank=True, default='', help_text='Its address, as in tcp://127.0.0.1:8786. Empty: the one that jobs run on.', max_length=255)),
                ('timeout', models.FloatField(default=0, help_text='Seconds to connect. 0: three.')),
                ('heartbeat_interval', models.IntegerField(default=0, help_text="Milliseconds. 0: Dask's own.")),
                ('dashboard', models.CharField(blank=True, default='', help_text='Its address.', max_length=255)),
            ],
            options={
                'verbose_name': 'Dask scheduler',
                'verbose_name_plural': 'Dask schedulers',
            },
        ),
        migrations.CreateModel(
            name='DaskJob',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=1024)),
                ('description', models.CharField(blank=True, default='', max_length=2048)),
                ('label', models.CharField(blank=True, default='', max_length=1024)),
                ('owner', models.CharField(help_text='Primary key of the user whose it is.', max_length=255)),
                ('creation_time', models.DateTimeField(default=django.utils.timezone.now)),
                ('execute_time', models.DateTimeField(blank=True, null=True)),
                ('extended_properties', models.JSONField(blank=True, default=dict)),
                ('forget', models.BooleanField(default=False, help_text='Its result is never fetched.')),
                ('key', models.CharField(blank=True, default='', help_text='Of its future.', max_length=1024)),
                ('is_parent', models.BooleanField(default=False, help_text='Its leaves are its work.')),
                ('results_function', models.CharField(blank=True, default='', max_length=1024)),
                ('ledger_id', models.CharField(blank=True, default='', max_length=255, verbose_name='job')),
                ('results_id', models.CharField(blank=True, default='', max_length=255, verbose_name='job of its results')),
                ('work', models.BinaryField(blank=True, null=True, verbose_name='stored graph')),
                ('held', models.BooleanField(default=False, verbose_name='paused')),
                ('stopped', models.BooleanField(default=False)),
                ('refusal', models.TextField(blank=True, default='', help_text='Why it could not be executed.')),
                ('own_status', models.CharField(blank=True, default='', max_length=255)),
                ('own_message', models.CharField(blank=True, default='', max_length=2048)),
                ('parent', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='leaves', to='dask_facade.daskjob')),
                ('scheduler', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='jobs', to='dask_facade.daskscheduler')),
            ],
            options={
                'verbose_name': 'named job',
                'verbose_name_plural': 'named jobs',
            },
        ),
        migrations.CreateModel(
            name='JobShare',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('group', models.CharField(help_text='Primary key of the group.', max_length=255)),
                ('job', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='shares', to='dask_facade.daskjob')),
            ],
            options={
                'verbose_name': 'share',
            },
        ),
        migrations.AddIndex(
            model_name='daskjob',
            index=models.Index(fields=['owner', 'id'], name='dask_facade_named_owner'),
        ),
        migrations.AddIndex(
            model_name='daskjob',
            index=models.Index(fields=['ledger_id'], name='dask_facade_named_job'),
        ),
        migrations.AddIndex(
            model_name='daskjob',
            index=models.Index(fields=['results_id'], name='dask_facade_named_results'),
        ),
        migrations.AddConstraint(
            model_name='jobshare',
            constraint=models.UniqueConstraint(fields=('job', 'group'), name='dask_facade_named_share'),
        ),
    ]
